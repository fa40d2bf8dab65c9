/* bar_chart.c - bars to SVG: one user unit is a pixel; colours follow the reader's light or dark
 * setting, as those of lib/monitor/curve.c do. */
#include "bar_chart.h"

#include "base/file.h"
#include "base/mem.h"

#include <string.h>

enum { WIDTH = 760, LEFT = 190, RIGHT = 90, TOP = 78, ROW = 28, BAR = 18, HEADING = 34 };

static const char head[] =
    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n"
    "<style>\n"
    "svg { --paper: #ffffff; --ink: #374151; --axis: #9ca3af;\n"
    "      --c0: #9ca3af; --c1: #2563eb; --c2: #d9480f; --c3: #2f9e44; }\n"
    "@media (prefers-color-scheme: dark) {\n"
    "svg { --paper: #111827; --ink: #d1d5db; --axis: #6b7280;\n"
    "      --c0: #6b7280; --c1: #60a5fa; --c2: #fb923c; --c3: #69db7c; } }\n"
    "text { font: 12px system-ui, 'DejaVu Sans', sans-serif; fill: #374151; fill: var(--ink); }\n"
    ".title { font-size: 19px; font-weight: 600; }\n"
    ".group { font-weight: 600; }\n"
    ".paper { fill: #ffffff; fill: var(--paper); }\n"
    ".axis { stroke: #9ca3af; stroke: var(--axis); }\n"
    ".c0 { fill: #9ca3af; fill: var(--c0); }\n"
    ".c1 { fill: #2563eb; fill: var(--c1); }\n"
    ".c2 { fill: #d9480f; fill: var(--c2); }\n"
    ".c3 { fill: #2f9e44; fill: var(--c3); }\n"
    "</style>\n"
    "<rect class=\"paper\" width=\"%d\" height=\"%d\"/>\n"
    "<text class=\"title\" x=\"20\" y=\"32\">%s</text>\n"
    "<text x=\"20\" y=\"54\">%s</text>\n";

static bool begins_group(const chart_bar *bars, size_t i)
{
    return i == 0 || strcmp(bars[i].group, bars[i - 1].group) != 0;
}

static void draw_bar(lt_buf *svg, const chart_bar *b, int y, double most)
{
    double width = b->value > 0 ? b->value / most * (WIDTH - LEFT - RIGHT) : 0;

    lt_buf_printf(svg, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", LEFT - 10, y + 13,
                  b->label);
    lt_buf_printf(svg, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n", LEFT,
                  LEFT, y - (ROW - BAR) / 2, y + ROW - (ROW - BAR) / 2);
    if (b->value <= 0) {
        lt_buf_printf(svg, "<text x=\"%d\" y=\"%d\">failed</text>\n", LEFT + 8, y + 13);
        return;
    }
    lt_buf_printf(svg,
                  "<rect class=\"c%d\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>"
                  "<text x=\"%.1f\" y=\"%d\">%.*f</text>\n",
                  b->colour, LEFT, y, width, BAR, LEFT + width + 8, y + 13, b->value < 100 ? 1 : 0,
                  b->value);
}

lt_err bar_chart_write(const char *path, const char *title, const char *unit, const chart_bar *bars,
                       size_t n)
{
    lt_buf svg = { 0 };
    int height = TOP + 24, y = TOP;
    double most = 0;
    lt_err err;

    for (size_t i = 0; i < n; i++) {
        most = bars[i].value > most ? bars[i].value : most;
        height += ROW + (begins_group(bars, i) ? HEADING : 0);
    }
    lt_buf_printf(&svg, head, WIDTH, height, WIDTH, height, WIDTH, height, title, unit);
    for (size_t i = 0; i < n; i++, y += ROW) {
        if (begins_group(bars, i)) {
            lt_buf_printf(&svg, "<text class=\"group\" x=\"20\" y=\"%d\">%s</text>\n", y + 16,
                          bars[i].group);
            y += HEADING - 8;
        }
        draw_bar(&svg, &bars[i], y, most);
    }
    lt_buf_printf(&svg, "</svg>\n");
    err = lt_file_write_atomic(path, svg.data, svg.size);
    lt_buf_release(&svg);
    return err;
}
