/* Flat ranges. */
#include <math.h>

#include "backend/element.h"
#include "backend/ref/ref.h"
#include "base/compiler.h"

double reid_ref_power_sum(reid_backend *backend, const reid_range *ranges, size_t range_count,
                          const float *data, double order)
{
    double sum = 0;
    for (const reid_range *r = ranges; r < ranges + range_count; r++)
        for (size_t i = r->offset; i < r->offset + r->size; i++) {
            double x = fabs((double)data[i]);
            if (!isinf(order))
                sum += pow(x, order);
            else if (x > sum || isnan(x)) /* a NaN stays */
                sum = x;
        }
    return sum;
}

REID_CLONES static void clamp(float *data, float limit, size_t count)
{
    for (size_t i = 0; i < count; i++)
        data[i] = reid_clamp_element(data[i], limit);
}

void reid_ref_clamp(reid_backend *backend, const reid_range *ranges, size_t range_count,
                    float *data, float limit)
{
    for (const reid_range *r = ranges; r < ranges + range_count; r++)
        clamp(data + r->offset, limit, r->size);
}
