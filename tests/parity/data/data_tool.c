/* What the parity scripts run on our side.
 *
 *   parity_data_tool resize                       lines "FILE WIDTH HEIGHT OUT" on standard input;
 * writes [3,H,W] u8 to OUT; prints "ok" or the sentence of the error, a line each parity_data_tool
 * evaluate METRIC THREADS Q G D FILE   FILE holds, raw: query [Q,D] f32, gallery [G,D] f32, then
 * i32 query pids, query cams, gallery pids, gallery cams; prints the result. With K1 K2 LAMBDA
 * behind FILE: after re-ranking
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"
#include "data/image.h"
#include "data/resize.h"
#include "evaluation/rank.h"
#include "evaluation/report.h"

#define FILE_LIMIT ((size_t)2 << 30)

static reid_status resize_one(reid_image_decoder *decoder, reid_resizer *resizer, const char *file,
                              int width, int height, const char *out, reid_error *err)
{
    reid_image image = {0};
    size_t size = (size_t)width * (size_t)height * 3;
    uint8_t *planes = reid_xmalloc(size);
    reid_status status = reid_image_read(decoder, file, &image, err);
    if (status == REID_OK)
        status = reid_resize_bicubic(resizer, &image, width, height, planes, err);
    if (status == REID_OK)
        status = reid_file_write_atomic(out, planes, size, err);
    reid_image_fini(&image);
    free(planes);
    return status;
}

static int resize_all(void)
{
    reid_image_decoder *decoder = reid_image_decoder_new();
    reid_resizer *resizer = reid_resizer_new();
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stdin) > 0) {
        char file[4096], out[4096];
        int width, height;
        if (sscanf(line, "%4095s %d %d %4095s", file, &width, &height, out) != 4)
            return 2;
        reid_error err = {0};
        reid_status status = resize_one(decoder, resizer, file, width, height, out, &err);
        puts(status == REID_OK ? "ok" : err.text);
    }
    free(line);
    reid_resizer_free(resizer);
    reid_image_decoder_free(decoder);
    return 0;
}

static reid_status evaluate(const char *metric_name, int threads, size_t q, size_t g, size_t d,
                            const char *path, const reid_rerank_options *rerank, reid_error *err)
{
    reid_eval_metric metric;
    REID_TRY(reid_eval_metric_from_name(metric_name, &metric, err));
    char *data = NULL;
    size_t size = 0;
    REID_TRY(reid_file_read(path, FILE_LIMIT, &data, &size, err));
    if (size != ((q + g) * d + 2 * (q + g)) * 4)
        return reid_fail(err, REID_ERR_INVALID, "the size of '%s' does not fit", path);
    const float *features = (const float *)(const void *)data;
    const int32_t *numbers = (const int32_t *)(const void *)(features + (q + g) * d);
    reid_eval_set query = {features, numbers, numbers + q, q};
    reid_eval_set gallery = {features + q * d, numbers + 2 * q, numbers + 2 * q + g, g};
    reid_rank_result result;
    reid_eval_options options = {.metric = metric, .threads = threads, .rerank = rerank};
    reid_status status = reid_eval_market1501(&query, &gallery, d, &options, &result, err);
    if (status == REID_OK) {
        printf("valid %zu\nskipped %zu\nmap %.17g\nminp %.17g\nmax_rank %zu\n",
               result.valid_queries, result.skipped_queries, result.map, result.minp,
               result.max_rank);
        for (size_t i = 0; i < result.max_rank; i++)
            printf("cmc%zu %.17g\n", i + 1, result.cmc[i]);
        reid_eval_report report = reid_eval_report_from_rank("Market1501", &result);
        char *table = reid_eval_report_table(&report, 1);
        printf("%s\n", table);
        free(table);
    }
    free(data);
    return status;
}

int main(int argc, char **argv)
{
    reid_error err = {0};
    if (argc == 2 && strcmp(argv[1], "resize") == 0)
        return resize_all();
    if ((argc == 8 || argc == 11) && strcmp(argv[1], "evaluate") == 0) {
        int64_t numbers[4];
        reid_rerank_options rerank = {0};
        if (argc == 11 && (reid_parse_int64(argv[8], &rerank.k1) != REID_OK ||
                           reid_parse_int64(argv[9], &rerank.k2) != REID_OK ||
                           reid_parse_double(argv[10], &rerank.lambda) != REID_OK))
            return 2;
        for (int i = 0; i < 4; i++)
            if (reid_parse_int64(argv[3 + i], &numbers[i]) != REID_OK)
                return 2;
        if (evaluate(argv[2], (int)numbers[0], (size_t)numbers[1], (size_t)numbers[2],
                     (size_t)numbers[3], argv[7], argc == 11 ? &rerank : NULL, &err) == REID_OK)
            return 0;
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    fprintf(stderr,
            "usage: parity_data_tool resize | evaluate METRIC THREADS Q G D FILE [K1 K2 LAMBDA]\n");
    return 2;
}
