/* The loop over queries that fast-reid compiles with Cython (its eval_market1501_cy), for
 * peer_eval.py, which lends it sorted galleries: the same single precision sums and the same walks
 * along whole rows. Built by eval_peer.py; not a part of reidd. */
#include <stdint.h>
#include <string.h>

static void running_sum(const float *from, float *to, int64_t n)
{
    to[0] = from[0];
    for (int64_t i = 1; i < n; i++)
        to[i] = from[i] + to[i - 1];
}

/* indices, matches [queries, gallery]; scratch [3, gallery] and order [gallery] are lent; ret_cmc
 * [queries, max_rank], ret_ap and ret_inp [queries] come zeroed. Returns the number of valid
 * queries. */
int64_t rank_loop(const int64_t *indices, const int64_t *matches, int64_t queries, int64_t gallery,
                  const int64_t *q_pids, const int64_t *g_pids, const int64_t *q_cams,
                  const int64_t *g_cams, int64_t max_rank, float *scratch, int64_t *order,
                  float *ret_cmc, float *ret_ap, float *ret_inp)
{
    float *raw = scratch, *sum = scratch + gallery, *sum_again = scratch + 2 * gallery;
    int64_t valid = 0;
    for (int64_t q = 0; q < queries; q++) {
        const int64_t *match = matches + q * gallery;
        int64_t kept = 0, last = 0;
        int met = 0;
        memcpy(order, indices + q * gallery, (size_t)gallery * sizeof *order);
        for (int64_t g = 0; g < gallery; g++)
            if (g_pids[order[g]] != q_pids[q] || g_cams[order[g]] != q_cams[q]) {
                raw[kept++] = (float)match[g];
                met |= match[g] != 0;
            }
        if (!met)
            continue;
        running_sum(raw, sum, kept);
        for (int64_t g = 0; g < kept; g++)
            if (raw[g] == 1 && g > last)
                last = g;
        ret_inp[q] = (float)(sum[last] / ((double)last + 1.0));
        for (int64_t g = 0; g < kept; g++)
            if (sum[g] > 1)
                sum[g] = 1;
        memcpy(ret_cmc + q * max_rank, sum, (size_t)max_rank * sizeof *sum);
        valid++;
        running_sum(raw, sum_again, kept);
        float relevant = 0, total = 0;
        for (int64_t g = 0; g < kept; g++) {
            total += (float)(sum_again[g] / ((double)g + 1.0) * raw[g]);
            relevant += raw[g];
        }
        ret_ap[q] = total / relevant;
    }
    return valid;
}
