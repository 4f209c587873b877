/* Shared by the commands of parity_tool, the program that the parity scripts run to get our
 * numbers.
 *
 * Every command works on a folder: it reads config.yaml and input.safetensors there and writes
 * output.safetensors. Errors are one sentence and exit code 1. */
#ifndef REID_TESTS_PARITY_TOOL_H
#define REID_TESTS_PARITY_TOOL_H

#include "backend/backend.h"
#include "base/vec.h"
#include "checkpoint/safetensors.h"
#include "config/config.h"
#include "nn/params.h"
#include "nn/plan.h"

typedef struct tool {
    const char *folder;
    reid_config *config;
    reid_safetensors *input; /* NULL for commands without tensors */
    reid_backend *backend;
    REID_VEC(reid_safetensors_item) output;
} tool;

/* Each prints its result into t->output or to stdout. argv holds what follows the folder. */
reid_status tool_step(tool *t, int argc, char **argv, reid_error *err);
reid_status tool_ddp(tool *t, int argc, char **argv, reid_error *err);
reid_status tool_losses(tool *t, int argc, char **argv, reid_error *err);
reid_status tool_optimizer(tool *t, int argc, char **argv, reid_error *err);
reid_status tool_lr(tool *t, int argc, char **argv, reid_error *err);

/* Memory of a new float32 output tensor "PREFIX.NAME" (or "NAME" when prefix is NULL). */
float *tool_output(tool *t, const char *prefix, const char *name, int rank, const int64_t *shape);
void tool_output_scalar(tool *t, const char *prefix, const char *name, double value);
/* A flat buffer's parameters as "PREFIX.NAME". */
void tool_output_params(tool *t, const char *prefix, const reid_params *params, const float *flat);
void tool_output_buffers(tool *t, const reid_params *params); /* "buffer.NAME" */
void tool_output_scalars(tool *t, reid_plan *plan);           /* "loss.NAME", "metric.NAME" */

/* Shape of an input tensor, which must exist and be float32 (or int32 for labels). */
reid_status tool_input_shape(const tool *t, const char *name, int rank, int64_t *ret_shape,
                             reid_error *err);
/* A copy (caller frees). */
reid_status tool_input_floats(const tool *t, const char *name, float **ret_data, reid_error *err);
reid_status tool_input_labels(const tool *t, const char *name, int32_t **ret_data, reid_error *err);
/* Fills a flat buffer from the input tensors "PREFIX.NAME" (or "NAME"). */
reid_status tool_input_params(const tool *t, const char *prefix, const reid_params *params,
                              float *flat, reid_error *err);
/* The running statistics from the input tensors "NAME". */
reid_status tool_input_buffers(const tool *t, reid_params *params, reid_error *err);

#endif
