/* model/act_plan.c - recording lifetimes and packing them. */
#include "model/act_plan.h"

#include "base/mem.h"

#include <stdlib.h>

enum { ALIGN = 256 };

typedef struct life {
    int slot;
    int64_t rows, cols;
    lt_dtype dtype;
    size_t bytes, offset;
    int first, last; /* ticks */
} life;

struct lt_act_plan {
    life *lives;
    size_t n_lives, capacity;
    size_t next;  /* the life that the next define gets */
    int *current; /* [slot] -> life, -1 none */
    int n_slots, tick;
    bool recording;
    char *arena;
};

lt_act_plan *lt_act_plan_new(int n_slots)
{
    lt_act_plan *p = lt_new0(sizeof *p);

    p->recording = true;
    p->n_slots = n_slots;
    p->current = lt_new_array0((size_t)n_slots, sizeof *p->current);
    lt_act_restart(p);
    return p;
}

void lt_act_plan_free(lt_act_plan *p)
{
    if (!p)
        return;
    free(p->lives);
    free(p->current);
    free(p);
}

void lt_act_restart(lt_act_plan *p)
{
    p->next = 0;
    for (int i = 0; i < p->n_slots; i++)
        p->current[i] = -1;
}

/* While recording there is no memory: a life's address is its number in the high bits, so that any
 * view into the tensor still tells whose it is.  Nobody follows these addresses. */
enum { LIFE_SHIFT = 42 };

static lt_tensor tensor_of(const lt_act_plan *p, const life *l, int64_t rows, int64_t cols)
{
    uintptr_t number = (uintptr_t)(l - p->lives) + 1;
    void *data = p->recording ? (void *)(number << LIFE_SHIFT) : p->arena + l->offset;

    return lt_matrix(data, l->dtype, rows, cols);
}

void lt_act_touch(lt_act_plan *p, lt_tensor t)
{
    uintptr_t number = (uintptr_t)t.data >> LIFE_SHIFT;

    if (!t.data || number == 0 || number > p->n_lives)
        return;
    LT_BUG_ON(!p->recording || p->current[p->lives[number - 1].slot] != (int)(number - 1));
    p->lives[number - 1].last = p->tick;
}

void lt_act_tick(lt_act_plan *p)
{
    p->tick++;
}

lt_tensor lt_act_define(lt_act_plan *p, int slot, lt_dtype dtype, int64_t rows, int64_t cols)
{
    life *l;

    LT_BUG_ON(slot < 0 || slot >= p->n_slots);
    if (p->recording) {
        lt_array_reserve(&p->lives, &p->capacity, p->n_lives + 1, sizeof *p->lives);
        l = &p->lives[p->n_lives++];
        *l = (life){ .slot = slot, .rows = rows, .cols = cols, .dtype = dtype };
        l->bytes = LT_ALIGN_UP((size_t)(rows * cols) * lt_dtype_bytes(dtype), (size_t)ALIGN);
        l->first = l->last = p->tick;
    }
    LT_BUG_ON(p->next >= p->n_lives);
    l = &p->lives[p->next];
    /* A later run may have fewer rows than were planned (generation; a vector has one element a
     * row), never another shape or order. */
    LT_BUG_ON(l->slot != slot || l->dtype != dtype || (l->cols != cols && l->rows != 1));
    LT_BUG_ON(rows > l->rows || cols > l->cols);
    p->current[slot] = (int)p->next++;
    return tensor_of(p, l, rows, cols);
}

lt_tensor lt_act_use(lt_act_plan *p, int slot)
{
    life *l;

    LT_BUG_ON(slot < 0 || slot >= p->n_slots || p->current[slot] < 0);
    l = &p->lives[p->current[slot]];
    return tensor_of(p, l, l->rows, l->cols);
}

static int larger_first(const void *a, const void *b)
{
    const life *const *x = a, *const *y = b;

    if ((*x)->bytes != (*y)->bytes)
        return (*x)->bytes < (*y)->bytes ? 1 : -1;
    return (*x)->first - (*y)->first;
}

/* Lowest offset at which `l` meets none of the n placed lives that live when it does.  Conflicts
 * are looked for again from the end of each one met, until nothing moves. */
static size_t lowest_gap(life *const *placed, size_t n, const life *l)
{
    size_t at = 0;
    bool moved = true;

    while (moved) {
        moved = false;
        for (size_t i = 0; i < n; i++) {
            const life *o = placed[i];

            if (o->last < l->first || l->last < o->first)
                continue;
            if (at < o->offset + o->bytes && o->offset < at + l->bytes) {
                at = o->offset + o->bytes;
                moved = true;
            }
        }
    }
    return at;
}

size_t lt_act_pack(lt_act_plan *p)
{
    life **order = lt_new_array0(p->n_lives, sizeof *order);
    size_t total = 0;

    for (size_t i = 0; i < p->n_lives; i++)
        order[i] = &p->lives[i];
    qsort(order, p->n_lives, sizeof *order, larger_first);
    for (size_t i = 0; i < p->n_lives; i++) {
        order[i]->offset = lowest_gap(order, i, order[i]);
        if (total < order[i]->offset + order[i]->bytes)
            total = order[i]->offset + order[i]->bytes;
    }
    free(order);
    p->recording = false;
    return total;
}

void lt_act_bind(lt_act_plan *p, void *arena)
{
    LT_BUG_ON(p->recording);
    p->arena = arena;
}
