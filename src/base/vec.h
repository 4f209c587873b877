/* A growing array of any type: `REID_VEC(int) v = {0};` then reid_vec_push(&v, x), v.items[i],
 * v.count, reid_vec_fini(&v). For counts the program bounds itself (running out of memory ends the
 * process). */
#ifndef REID_BASE_VEC_H
#define REID_BASE_VEC_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

#define REID_VEC(type)                                                                             \
    struct {                                                                                       \
        type *items;                                                                               \
        size_t count;                                                                              \
        size_t capacity;                                                                           \
    }

#define reid_vec_reserve(v, wanted)                                                                \
    do {                                                                                           \
        if ((v)->capacity < (wanted)) {                                                            \
            size_t reid_vec_cap = (v)->capacity ? (v)->capacity * 2 : 8;                           \
            if (reid_vec_cap < (wanted))                                                           \
                reid_vec_cap = (wanted);                                                           \
            (v)->items = reid_xrealloc((v)->items, reid_vec_cap * sizeof *(v)->items);             \
            (v)->capacity = reid_vec_cap;                                                          \
        }                                                                                          \
    } while (0)

#define reid_vec_push(v, value)                                                                    \
    do {                                                                                           \
        reid_vec_reserve((v), (v)->count + 1);                                                     \
        (v)->items[(v)->count++] = (value);                                                        \
    } while (0)

/* Removes item `index`, keeping the order of the rest. */
#define reid_vec_remove(v, index)                                                                  \
    do {                                                                                           \
        size_t reid_vec_i = (index);                                                               \
        memmove((v)->items + reid_vec_i, (v)->items + reid_vec_i + 1,                              \
                ((v)->count - reid_vec_i - 1) * sizeof *(v)->items);                               \
        (v)->count--;                                                                              \
    } while (0)

#define reid_vec_fini(v)                                                                           \
    do {                                                                                           \
        free((v)->items);                                                                          \
        (v)->items = NULL;                                                                         \
        (v)->count = (v)->capacity = 0;                                                            \
    } while (0)

#endif
