/* curve.c - metrics.jsonl to SVG.
 *
 * Everything is drawn in user units of one pixel: a title line, the plot box with a grid, the raw
 * training loss reduced to its extremes per pixel column (so spikes stay visible at any length),
 * its moving average, the evaluations as dots, and a legend.  Colours follow the reader's light or
 * dark setting through one style sheet. */
#include "monitor/curve.h"
#include "base/file.h"
#include "monitor/metrics.h"
#include "monitor/units.h"

#include <math.h>
#include <stdlib.h>

enum { WIDTH = 880, HEIGHT = 480, LEFT = 64, RIGHT = 28, TOP = 76, BOTTOM = 56 };
enum { PLOT_W = WIDTH - LEFT - RIGHT, PLOT_H = HEIGHT - TOP - BOTTOM };

typedef struct point {
    double x, y;
} point;

typedef struct series {
    point *at; /* owned; x rises */
    size_t n;
} series;

typedef struct axis {
    double min, max, tick; /* data range shown; ticks at its multiples */
} axis;

typedef struct plot {
    axis x, y;
    series train, val;
    lt_step_metrics last;
    lt_buf svg;
} plot;

static double px(const plot *p, double x)
{
    return LEFT + (x - p->x.min) / (p->x.max - p->x.min) * PLOT_W;
}

static double py(const plot *p, double y)
{
    return TOP + (p->y.max - y) / (p->y.max - p->y.min) * PLOT_H;
}

/* The 1, 2 or 5 times a power of ten that cuts `range` into at most `n` pieces. */
static double nice_tick(double range, int n)
{
    double raw = range / n, power = pow(10, floor(log10(raw))), lead = raw / power;

    return (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10) * power;
}

static void series_add(series *s, double x, double y)
{
    if (fabs(y) < 1e30) /* NaN, infinity and what no axis can hold stay out */
        s->at[s->n++] = (point){ x, y };
}

static void take_data(plot *p, const lt_step_metrics *m, size_t n)
{
    p->train.at = lt_new_array0(n, sizeof *p->train.at);
    p->val.at = lt_new_array0(n, sizeof *p->val.at);
    for (size_t i = 0; i < n; i++) {
        series_add(&p->train, (double)m[i].step, m[i].loss);
        if (m[i].has_val)
            series_add(&p->val, (double)m[i].step, m[i].val_loss);
    }
    p->last = m[n - 1];
}

static void widen(axis *a, const series *s)
{
    for (size_t i = 0; i < s->n; i++) {
        a->min = fmin(a->min, s->at[i].y);
        a->max = fmax(a->max, s->at[i].y);
    }
}

static void choose_axes(plot *p)
{
    double first = p->train.at[0].x, last = p->train.at[p->train.n - 1].x;

    if (p->val.n) { /* an evaluation may stand before the first step or after the last */
        first = fmin(first, p->val.at[0].x);
        last = fmax(last, p->val.at[p->val.n - 1].x);
    }
    p->x = (axis){ first <= 0.1 * last ? 0 : first, last > first ? last : first * 1.001 + 1, 0 };
    p->x.tick = fmax(1, nice_tick(p->x.max - p->x.min, 8));

    p->y = (axis){ INFINITY, -INFINITY, 0 };
    widen(&p->y, &p->train);
    widen(&p->y, &p->val);
    if (p->y.max - p->y.min < 1e-3 * fabs(p->y.max) + 1e-9) {
        double half = 0.01 * fabs(p->y.max) + 0.01;

        p->y.min -= half;
        p->y.max += half;
    }
    p->y.tick = nice_tick(p->y.max - p->y.min, 7);
    p->y.min = floor(p->y.min / p->y.tick) * p->y.tick;
    p->y.max = ceil(p->y.max / p->y.tick) * p->y.tick;
}

/* Mean of up to 2h + 1 neighbours.  At the start the window shrinks on both sides, so that the
 * steep first fall is not flattened; at the end only its right side is cut. */
static series smooth(const series *s)
{
    series out = { lt_new_array0(s->n, sizeof(point)), s->n };
    double *sum = lt_new_array0(s->n + 1, sizeof *sum);
    size_t h = s->n / 50;

    for (size_t i = 0; i < s->n; i++)
        sum[i + 1] = sum[i] + s->at[i].y;
    for (size_t i = 0; i < s->n; i++) {
        size_t reach = i < h ? i : h;
        size_t end = i + reach + 1 < s->n ? i + reach + 1 : s->n;

        out.at[i] = (point){ s->at[i].x, (sum[end] - sum[i - reach]) / (double)(end - i + reach) };
    }
    free(sum);
    return out;
}

static void put_point(plot *p, double x, double y)
{
    lt_buf_printf(&p->svg, "%.1f,%.1f ", x, py(p, y));
}

/* One polyline through the lowest and highest value of every pixel column, in the order met. */
static void draw_line(plot *p, const series *s, const char *class)
{
    lt_buf_printf(&p->svg, "<polyline class=\"%s\" points=\"", class);
    for (size_t i = 0; i < s->n;) {
        double x = px(p, s->at[i].x), column = floor(x);
        size_t low = i, high = i, n = i;

        for (; n < s->n && px(p, s->at[n].x) < column + 1; n++) {
            low = s->at[n].y < s->at[low].y ? n : low;
            high = s->at[n].y > s->at[high].y ? n : high;
        }
        put_point(p, x, s->at[low < high ? low : high].y);
        if (low != high)
            put_point(p, x, s->at[low < high ? high : low].y);
        i = n > i ? n : i + 1;
    }
    lt_buf_printf(&p->svg, "\"/>\n");
}

static void draw_dots(plot *p, const series *s)
{
    size_t every = s->n / 60 + 1;

    for (size_t i = 0; i < s->n; i++)
        if ((s->n - 1 - i) % every == 0)
            lt_buf_printf(&p->svg, "<circle class=\"val-dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n",
                          px(p, s->at[i].x), py(p, s->at[i].y));
}

static void draw_x_axis(plot *p)
{
    bool thousands = p->x.max >= 10000;
    double from = ceil(p->x.min / p->x.tick);
    int n = (int)(floor(p->x.max / p->x.tick) - from);

    for (int i = 0; i <= n; i++) {
        double x = (from + i) * p->x.tick;

        lt_buf_printf(&p->svg,
                      "<line class=\"tick\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>"
                      "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.10g%s</text>\n",
                      px(p, x), px(p, x), TOP + PLOT_H, TOP + PLOT_H + 5, px(p, x),
                      TOP + PLOT_H + 21, thousands ? x / 1000 : x, thousands && x > 0 ? "k" : "");
    }
    lt_buf_printf(&p->svg, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">step</text>\n",
                  LEFT + PLOT_W / 2, HEIGHT - 14);
}

static void draw_y_axis(plot *p)
{
    int n = (int)lround((p->y.max - p->y.min) / p->y.tick);
    int decimals = p->y.tick >= 1 ? 0 : (int)ceil(-log10(p->y.tick) - 1e-9);

    for (int i = 0; i <= n; i++) {
        double y = p->y.min + i * p->y.tick;

        lt_buf_printf(&p->svg,
                      "<line class=\"%s\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
                      "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.*f</text>\n",
                      i ? "grid" : "axis", LEFT, LEFT + PLOT_W, py(p, y), py(p, y), LEFT - 9,
                      py(p, y) + 4, decimals, y);
    }
    lt_buf_printf(&p->svg,
                  "<text transform=\"translate(18 %d) rotate(-90)\" "
                  "text-anchor=\"middle\">loss (nats per token)</text>\n",
                  TOP + PLOT_H / 2);
}

static void draw_legend(plot *p)
{
    static const struct {
        const char *class, *text;
    } rows[] = { { "raw", "train, each logged step" },
                 { "train", "train, moving average" },
                 { "val", "validation" } };
    int n = p->val.n ? 3 : 2;
    int x = LEFT + PLOT_W - 186, y = TOP + 10;

    lt_buf_printf(&p->svg,
                  "<rect class=\"box\" x=\"%d\" y=\"%d\" width=\"178\" height=\"%d\" rx=\"4\"/>\n",
                  x, y, 12 + 20 * n);
    for (int i = 0; i < n; i++)
        lt_buf_printf(&p->svg,
                      "<line class=\"%s\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>"
                      "<text x=\"%d\" y=\"%d\">%s</text>\n",
                      rows[i].class, x + 10, x + 34, y + 16 + 20 * i, y + 16 + 20 * i, x + 42,
                      y + 20 + 20 * i, rows[i].text);
}

static void draw_title(plot *p, const series *average)
{
    char tokens[LT_UNIT_TEXT_BYTES];

    lt_buf_printf(&p->svg,
                  "<text class=\"title\" x=\"%d\" y=\"32\">Loss</text>\n"
                  "<text x=\"%d\" y=\"54\">%llu steps, %s tokens: train %.4g",
                  LEFT, LEFT, (unsigned long long)p->last.step,
                  lt_unit_count(tokens, (double)p->last.tokens), average->at[average->n - 1].y);
    if (p->val.n) {
        double loss = p->val.at[p->val.n - 1].y;

        lt_buf_printf(&p->svg, ", validation %.4g (perplexity %.4g)", loss, exp(loss));
    }
    lt_buf_printf(&p->svg, "</text>\n");
}

static const char head[] =
    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n"
    "<style>\n"
    "svg { --paper: #ffffff; --ink: #374151; --grid: #e5e7eb; --axis: #9ca3af;\n"
    "      --train: #2563eb; --val: #d9480f; }\n"
    "@media (prefers-color-scheme: dark) {\n"
    "svg { --paper: #111827; --ink: #d1d5db; --grid: #1f2937; --axis: #6b7280;\n"
    "      --train: #60a5fa; --val: #fb923c; } }\n"
    "text { font: 12px system-ui, 'DejaVu Sans', sans-serif; fill: #374151; fill: var(--ink); }\n"
    ".title { font-size: 19px; font-weight: 600; }\n"
    ".paper { fill: #ffffff; fill: var(--paper); }\n"
    ".box { fill: #ffffff; fill: var(--paper); fill-opacity: 0.85; }\n"
    ".grid { stroke: #e5e7eb; stroke: var(--grid); }\n"
    ".axis, .tick { stroke: #9ca3af; stroke: var(--axis); }\n"
    ".raw, .train, .val { fill: none; stroke-linejoin: round; }\n"
    ".raw { stroke: #2563eb; stroke: var(--train); stroke-opacity: 0.3; }\n"
    ".train { stroke: #2563eb; stroke: var(--train); stroke-width: 2.2; }\n"
    ".val { stroke: #d9480f; stroke: var(--val); stroke-width: 1.8; }\n"
    ".val-dot { fill: #d9480f; fill: var(--val); }\n"
    "</style>\n"
    "<rect class=\"paper\" width=\"%d\" height=\"%d\"/>\n";

static void draw(plot *p)
{
    series average = smooth(&p->train);

    lt_buf_printf(&p->svg, head, WIDTH, HEIGHT, WIDTH, HEIGHT, WIDTH, HEIGHT);
    draw_title(p, &average);
    draw_y_axis(p);
    draw_x_axis(p);
    draw_line(p, &p->train, "raw");
    draw_line(p, &average, "train");
    if (p->val.n) {
        draw_line(p, &p->val, "val");
        draw_dots(p, &p->val);
    }
    draw_legend(p);
    lt_buf_printf(&p->svg, "</svg>\n");
    free(average.at);
}

lt_err lt_curve_svg(const char *metrics_path, const char *svg_path)
{
    lt_step_metrics *m = NULL;
    plot p = { 0 };
    size_t n;
    lt_err err;

    LT_TRY(err = lt_metrics_load(&m, &n, metrics_path));
    if (n)
        take_data(&p, m, n);
    if (!p.train.n) {
        err = lt_fail(LT_EFORMAT, "%s: expected at least one step with a finite loss, found none",
                      metrics_path);
        goto fail;
    }
    choose_axes(&p);
    draw(&p);
    err = lt_file_write_atomic(svg_path, p.svg.data, p.svg.size);
fail:
    lt_buf_release(&p.svg);
    free(p.train.at);
    free(p.val.at);
    free(m);
    return err;
}
