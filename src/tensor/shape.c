#include "tensor/shape.h"

#include <stdio.h>

reid_shape reid_shape_scalar(void)
{
    return (reid_shape){0, {1, 1, 1, 1}};
}

reid_shape reid_shape_1d(int64_t n)
{
    return (reid_shape){1, {n, 1, 1, 1}};
}

reid_shape reid_shape_2d(int64_t n, int64_t c)
{
    return (reid_shape){2, {n, c, 1, 1}};
}

reid_shape reid_shape_4d(int64_t n, int64_t c, int64_t h, int64_t w)
{
    return (reid_shape){4, {n, c, h, w}};
}

size_t reid_shape_count(const reid_shape *shape)
{
    size_t count = 1;
    for (int i = 0; i < shape->rank; i++)
        count *= (size_t)shape->dim[i];
    return count;
}

bool reid_shape_equal(const reid_shape *a, const reid_shape *b)
{
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

bool reid_shape_valid(const reid_shape *shape)
{
    if (shape->rank < 0 || shape->rank > REID_MAX_RANK)
        return false;
    int64_t limit = (int64_t)1 << 40;
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dim[i] < 1 || shape->dim[i] > limit)
            return false;
        limit /= shape->dim[i];
    }
    return true;
}

const char *reid_shape_text(char buffer[96], const reid_shape *shape)
{
    size_t used = (size_t)snprintf(buffer, 96, "[");
    for (int i = 0; i < shape->rank && used < 90; i++)
        used += (size_t)snprintf(buffer + used, 96 - used, "%s%lld", i ? "," : "",
                                 (long long)shape->dim[i]);
    if (used < 95)
        snprintf(buffer + used, 96 - used, "]");
    return buffer;
}
