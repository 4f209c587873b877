/* The arithmetic of an all-reduce. */
#ifndef REID_COMM_SUM_H
#define REID_COMM_SUM_H

#include <stddef.h>

/* out[i] = (((x0[i] + x1[i]) + x2[i]) + …) / divisor, for `ranks` ≥ 1 inputs; no division when
 * divisor is 1. `ret_out` may be one of the inputs. The order of the additions is that of the ranks
 * on every machine and for every count. */
void reid_comm_sum_ranks(const float *const *inputs, int ranks, size_t count, float divisor,
                         float *ret_out);

#endif
