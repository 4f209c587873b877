/* reid-train --plan-only DEVICE: the network of a configuration, planned for a device that need not
 * be there, by the way that a training takes: the same graph, backend, engines and placing of
 * memory. Nothing is allocated on the device and nothing runs.
 *
 * The report has the memory of one rank by kind, the chosen engines, operations and bytes of a
 * step, bounds of its time by the GPU's data sheet, what the all-reduce adds for --world ranks,
 * and, with
 * --memory, the largest batch that fits. Convolutions of the cpu backend are planned by the rule of
 * shapes: a training may measure others faster (MODEL.CONVOLUTION).
 */
#ifndef REID_TRAIN_PLAN_ONLY_H
#define REID_TRAIN_PLAN_ONLY_H

#include "base/str.h"
#include "modeling/model.h"
#include "train/estimate.h"
#include "train/options.h"

/* Text for people, or one line of JSON with --json; caller frees. INVALID and UNSUPPORTED for what
 * is wrong with the options, the configuration or the device. */
reid_status reid_plan_only(const reid_train_options *options, char **ret_text, reid_error *err);

/* ---- inside: plan_only.c finds, plan_print.c writes ---- */

/* Bytes on the device of one rank. */
typedef struct reid_plan_sizes {
    size_t parameters, gradients, states, statistics; /* states: of the optimizer */
    size_t step, evaluation;                          /* the arenas of the two plans */
    size_t total;
} reid_plan_sizes;

/* A network planned for one batch per rank. */
typedef struct reid_planned {
    reid_model *model;
    reid_params *params;
    reid_plan *plan, *eval_plan;
    reid_plan_sizes sizes;
} reid_planned;

typedef struct reid_plan_fit {
    int64_t memory_bytes, reserved_bytes; /* asked for; of those not for the plan */
    int batch;                            /* per rank; 0: none fits */
    size_t bytes;                         /* that the plan of this batch takes */
    int next_batch;                       /* the smallest that does not fit; 0: not looked for */
    size_t next_bytes;
} reid_plan_fit;

typedef struct reid_plan_report {
    const reid_train_options *options;
    const reid_config *config;
    const char *optimizer; /* SOLVER.OPT */
    size_t states;
    reid_backend *backend;
    reid_dtype compute;
    bool tf32;
    reid_planned planned;
    reid_estimate_work work;
    const reid_gpu_spec *gpu; /* NULL: no bounds of time */
    reid_estimate_machine machine;
    reid_estimate bound, expected; /* where gpu is set */
    reid_plan_fit fit;             /* where --memory is given */
    size_t buckets;
} reid_plan_report;

void reid_plan_report_text(const reid_plan_report *report, reid_str *out);
void reid_plan_report_json(const reid_plan_report *report, reid_str *out);

#endif
