#include "train/evaluate.h"

#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/vec.h"
#include "data/loader.h"
#include "engine/upload.h"
#include "evaluation/report.h"
#include "nn/plan.h"

#define REPORT_SECONDS 5.0

typedef struct test_set {
    const char *name;
    reid_dataset *query, *gallery;
    reid_loader *loader;
} test_set;

struct reid_evaluator {
    const reid_config *config;
    reid_comm *comm;
    reid_backend *backend;
    const reid_model *model;
    reid_params *params;
    reid_plan_options plan_options;
    reid_plan *plan; /* made by the first evaluation */
    reid_upload *upload;
    int batch;
    size_t dim;
    REID_VEC(test_set) sets;
    reid_eval_report *reports; /* rank 0: of the last run */
};

int reid_evaluator_batch(const reid_config *config, int world)
{
    int64_t batch = reid_config_int(config, "TEST.IMS_PER_BATCH") / world;
    return batch > 0 ? (int)batch : 1;
}

reid_status reid_evaluator_new(const reid_config *config, reid_comm *comm, reid_backend *backend,
                               const reid_model *model, reid_params *params,
                               const reid_plan_options *training_options,
                               reid_evaluator **ret_evaluator, reid_error *err)
{
    reid_evaluator *evaluator = reid_xcalloc(1, sizeof *evaluator);
    evaluator->config = config;
    evaluator->comm = comm;
    evaluator->backend = backend;
    evaluator->model = model;
    evaluator->params = params;
    evaluator->plan_options = *training_options;
    evaluator->plan_options.training = false;
    evaluator->batch = reid_evaluator_batch(config, comm->size);
    size_t count = reid_config_count(config, "DATASETS.TESTS");
    for (size_t i = 0; i < count; i++) {
        test_set set = {.name = reid_config_string_at(config, "DATASETS.TESTS", i)};
        reid_status status =
            reid_dataset_open_test(config, set.name, &set.query, &set.gallery, err);
        if (status != REID_OK) {
            reid_evaluator_free(evaluator);
            return status;
        }
        reid_vec_push(&evaluator->sets, set);
    }
    *ret_evaluator = evaluator;
    return REID_OK;
}

void reid_evaluator_free(reid_evaluator *evaluator)
{
    if (evaluator == NULL)
        return;
    for (size_t i = 0; i < evaluator->sets.count; i++) {
        test_set *set = &evaluator->sets.items[i];
        reid_loader_free(set->loader);
        reid_dataset_free(set->query);
        reid_dataset_free(set->gallery);
    }
    reid_vec_fini(&evaluator->sets);
    reid_upload_free(evaluator->upload);
    reid_plan_free(evaluator->plan);
    free(evaluator->reports);
    free(evaluator);
}

static reid_status prepare(reid_evaluator *evaluator, test_set *set, reid_error *err)
{
    if (evaluator->plan == NULL) {
        REID_TRY(reid_plan_new(evaluator->model->eval, evaluator->backend, evaluator->params,
                               &evaluator->plan_options, &evaluator->plan, err));
        evaluator->dim = (size_t)evaluator->model->feature_dim;
        evaluator->upload =
            reid_upload_new(evaluator->backend, evaluator->plan, evaluator->model->eval_images);
    }
    if (set->loader != NULL)
        return reid_loader_rewind(set->loader, err);
    REID_TRY(reid_test_loader_new(evaluator->config, set->query, set->gallery,
                                  evaluator->comm->rank, evaluator->comm->size, evaluator->batch,
                                  &set->loader, err));
    return reid_upload_wants_bytes(evaluator->backend) ? reid_loader_give_bytes(set->loader, err)
                                                       : REID_OK;
}

/* Running statistics of rank 0 to all: what is evaluated is what is saved. */
static reid_status share_statistics(reid_evaluator *evaluator, reid_error *err)
{
    reid_params *params = evaluator->params;
    if (evaluator->comm->size == 1)
        return REID_OK;
    float *host = reid_alloc(params->buffer_bytes, 1);
    if (host == NULL)
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for %zu bytes of running statistics",
                         params->buffer_bytes);
    reid_backend_copy_out(evaluator->backend, host, params->buffer_memory, params->buffer_bytes);
    reid_status status = reid_comm_broadcast(evaluator->comm, host, params->buffer_bytes, 0, err);
    if (status == REID_OK)
        reid_backend_copy_in(evaluator->backend, params->buffer_memory, host, params->buffer_bytes);
    free(host);
    return status;
}

/* Features of this rank's shard, [count, dim]; caller frees. */
static reid_status extract(reid_evaluator *evaluator, test_set *set, float **ret_features,
                           size_t *ret_count, reid_error *err)
{
    size_t begin, end, done = 0, dim = evaluator->dim;
    size_t total = set->query->count + set->gallery->count;
    reid_test_shard(total, evaluator->comm->rank, evaluator->comm->size, &begin, &end);
    float *features = reid_alloc((end - begin + (size_t)evaluator->batch) * dim, sizeof *features);
    if (features == NULL)
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for the features of %zu images",
                         end - begin);
    reid_status status = REID_OK;
    double reported = reid_clock_seconds();
    for (;;) {
        const reid_batch *batch = NULL;
        status = reid_loader_next(set->loader, &batch, err);
        if (status != REID_OK || batch == NULL)
            break;
        status = reid_upload_images(evaluator->upload, set->loader, batch, err);
        if (status == REID_OK)
            status = reid_plan_forward(evaluator->plan, err);
        if (status == REID_OK)
            status = reid_plan_download(evaluator->plan, evaluator->model->eval_features,
                                        features + done * dim,
                                        (size_t)evaluator->batch * dim * sizeof(float), err);
        if (status != REID_OK)
            break;
        done += (size_t)batch->count;
        if (reid_clock_seconds() - reported > REPORT_SECONDS) {
            reid_log_info("inference done %zu/%zu images of %s", done, end - begin, set->name);
            reported = reid_clock_seconds();
        }
    }
    if (status == REID_OK) /* the copies have no status of their own */
        status = reid_backend_status(evaluator->backend, err);
    if (status != REID_OK) {
        free(features);
        return status;
    }
    *ret_features = features;
    *ret_count = done;
    return REID_OK;
}

static void fill_ids(const reid_dataset *dataset, int32_t *pids, int32_t *camids)
{
    for (size_t i = 0; i < dataset->count; i++) {
        pids[i] = dataset->items[i].pid;
        camids[i] = dataset->items[i].camid;
    }
}

/* Rank 0: CMC, mAP and mINP of all features in order of query, gallery. */
static reid_status rank_features(reid_evaluator *evaluator, const test_set *set,
                                 const float *features, reid_eval_report *ret_report,
                                 reid_error *err)
{
    size_t queries = set->query->count, total = queries + set->gallery->count;
    reid_eval_metric metric;
    REID_TRY(reid_eval_metric_from_name(reid_config_string(evaluator->config, "TEST.METRIC"),
                                        &metric, err));
    int32_t *pids = reid_alloc(total * 2, sizeof *pids);
    if (pids == NULL)
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for the labels of %zu images", total);
    int32_t *camids = pids + total;
    fill_ids(set->query, pids, camids);
    fill_ids(set->gallery, pids + queries, camids + queries);
    reid_eval_set query = {features, pids, camids, queries};
    reid_eval_set gallery = {features + queries * evaluator->dim, pids + queries, camids + queries,
                             set->gallery->count};
    reid_rerank_options rerank = {
        .k1 = reid_config_int(evaluator->config, "TEST.RERANK.K1"),
        .k2 = reid_config_int(evaluator->config, "TEST.RERANK.K2"),
        .lambda = reid_config_float(evaluator->config, "TEST.RERANK.LAMBDA"),
    };
    bool reranks = reid_config_bool(evaluator->config, "TEST.RERANK.ENABLED");
    reid_eval_options options = {.metric = metric,
                                 .threads = reid_backend_threads(evaluator->backend),
                                 .rerank = reranks ? &rerank : NULL};
    reid_rank_result result;
    reid_status status =
        reid_eval_market1501(&query, &gallery, evaluator->dim, &options, &result, err);
    if (status == REID_OK) {
        if (result.skipped_queries > 0)
            reid_log_info("%zu queries of %s have no match in the gallery and do not count",
                          result.skipped_queries, set->name);
        *ret_report = reid_eval_report_from_rank(set->name, &result);
    }
    free(pids);
    return status;
}

static reid_status evaluate_set(reid_evaluator *evaluator, test_set *set,
                                reid_eval_report *ret_report, reid_error *err)
{
    float *features = NULL, *all = NULL;
    size_t count = 0;
    double start = reid_clock_seconds();
    REID_TRY(prepare(evaluator, set, err));
    REID_TRY(extract(evaluator, set, &features, &count, err));
    size_t *offsets = reid_xcalloc((size_t)evaluator->comm->size + 1, sizeof *offsets);
    reid_status status =
        reid_comm_gather_varied(evaluator->comm, features, count * evaluator->dim * sizeof(float),
                                0, (void **)&all, offsets, err);
    free(features);
    free(offsets);
    if (status == REID_OK && evaluator->comm->rank == 0) {
        double extracted = reid_clock_seconds();
        status = rank_features(evaluator, set, all, ret_report, err);
        reid_log_info("evaluated %s: %zu query and %zu gallery images, %.1f s features, %.1f s "
                      "ranking",
                      set->name, set->query->count, set->gallery->count, extracted - start,
                      reid_clock_seconds() - extracted);
    }
    free(all);
    return status;
}

const reid_eval_report *reid_evaluator_reports(const reid_evaluator *evaluator, size_t *ret_count)
{
    *ret_count = evaluator->reports != NULL ? evaluator->sets.count : 0;
    return evaluator->reports;
}

static void publish(reid_evaluator *evaluator, reid_eval_report *own_reports,
                    reid_eval_results *results)
{
    size_t count = evaluator->sets.count;
    char *table = reid_eval_report_table(own_reports, count);
    reid_log_info("evaluation results:");
    reid_log_plain(table);
    free(table);
    for (size_t i = 0; i < count && results != NULL; i++)
        for (size_t v = 0; v < REID_EVAL_VALUES; v++)
            reid_eval_results_add(results, own_reports[i].dataset, own_reports[i].values[v].name,
                                  own_reports[i].values[v].value);
    free(evaluator->reports);
    evaluator->reports = own_reports;
}

reid_status reid_evaluator_run(void *user, reid_eval_results *results, reid_error *err)
{
    reid_evaluator *evaluator = user;
    size_t count = evaluator->sets.count;
    reid_eval_report *reports = reid_xcalloc(count + 1, sizeof *reports);
    reid_status status = share_statistics(evaluator, err);
    for (size_t i = 0; i < count && status == REID_OK; i++)
        status = evaluate_set(evaluator, &evaluator->sets.items[i], &reports[i], err);
    if (status == REID_OK && evaluator->comm->rank == 0 && count > 0)
        publish(evaluator, reports, results);
    else
        free(reports);
    return status;
}
