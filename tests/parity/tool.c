#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/file.h"

static const struct command {
    const char *name;
    bool tensors; /* reads input.safetensors and writes output.safetensors */
    reid_status (*run)(tool *t, int argc, char **argv, reid_error *err);
    const char *usage;
} commands[] = {
    {"step", true, tool_step, "step FOLDER [direct]: one training step of the configured network"},
    {"ddp", false, tool_ddp,
     "ddp FOLDER STEPS: data-parallel steps of the configured network, one process per rank"},
    {"losses", true, tool_losses,
     "losses FOLDER: losses of given features and logits, and their gradients"},
    {"optimizer", true, tool_optimizer,
     "optimizer FOLDER STEPS ITERS_PER_EPOCH: updates by given gradients"},
    {"lr", false, tool_lr,
     "lr FOLDER ITERS_PER_EPOCH BASE_LR: one learning rate per line and iteration"},
};

float *tool_output(tool *t, const char *prefix, const char *name, int rank, const int64_t *shape)
{
    reid_safetensors_item item = {.dtype = REID_SAFETENSORS_F32, .rank = rank};
    size_t count = 1;
    for (int i = 0; i < rank; i++) {
        item.shape[i] = shape[i];
        count *= (size_t)shape[i];
    }
    item.name = prefix ? reid_xasprintf("%s.%s", prefix, name) : reid_xstrdup(name);
    float *data = reid_xcalloc(count, sizeof *data);
    item.data = data;
    reid_vec_push(&t->output, item);
    return data;
}

void tool_output_scalar(tool *t, const char *prefix, const char *name, double value)
{
    *tool_output(t, prefix, name, 0, NULL) = (float)value;
}

void tool_output_params(tool *t, const char *prefix, const reid_params *params, const float *flat)
{
    for (size_t i = 0; i < params->count; i++) {
        const reid_param *param = &params->items[i];
        reid_params_to_plain(params, i, flat,
                             tool_output(t, prefix, param->name, param->rank, param->shape));
    }
}

void tool_output_buffers(tool *t, const reid_params *params)
{
    for (size_t i = 0; i < params->buffer_count; i++) {
        const reid_param_buffer *buffer = &params->buffers[i];
        reid_params_buffer_get(params, i,
                               tool_output(t, "buffer", buffer->name, buffer->rank, buffer->shape));
    }
}

void tool_output_scalars(tool *t, reid_plan *plan)
{
    for (size_t i = 0; i < reid_plan_scalar_count(plan); i++) {
        const char *kind = reid_plan_scalar_is_loss(plan, i) ? "loss" : "metric";
        tool_output_scalar(t, kind, reid_plan_scalar_name(plan, i), reid_plan_scalar(plan, i));
    }
}

static reid_status find_input(const tool *t, const char *name, reid_safetensors_dtype dtype,
                              const reid_safetensors_info **ret_info, reid_error *err)
{
    const reid_safetensors_info *info = reid_safetensors_find(t->input, name);
    if (!info)
        return reid_fail(err, REID_ERR_NOT_FOUND, "the input has no tensor '%s'", name);
    if (info->dtype != dtype)
        return reid_fail(err, REID_ERR_INVALID, "the input tensor '%s' is %s, not %s", name,
                         reid_safetensors_dtype_name(info->dtype),
                         reid_safetensors_dtype_name(dtype));
    *ret_info = info;
    return REID_OK;
}

reid_status tool_input_shape(const tool *t, const char *name, int rank, int64_t *ret_shape,
                             reid_error *err)
{
    const reid_safetensors_info *info = reid_safetensors_find(t->input, name);
    if (!info || info->rank != rank)
        return reid_fail(err, REID_ERR_INVALID, "the input has no tensor '%s' of rank %d", name,
                         rank);
    for (int i = 0; i < rank; i++)
        ret_shape[i] = info->shape[i];
    return REID_OK;
}

static reid_status read_input(const tool *t, const char *name, reid_safetensors_dtype dtype,
                              void **ret_data, reid_error *err)
{
    const reid_safetensors_info *info = NULL;
    REID_TRY(find_input(t, name, dtype, &info, err));
    void *data = reid_xmalloc(info->bytes);
    reid_status status = reid_safetensors_read(t->input, info, data, err);
    if (status != REID_OK)
        free(data);
    else
        *ret_data = data;
    return status;
}

reid_status tool_input_floats(const tool *t, const char *name, float **ret_data, reid_error *err)
{
    return read_input(t, name, REID_SAFETENSORS_F32, (void **)ret_data, err);
}

reid_status tool_input_labels(const tool *t, const char *name, int32_t **ret_data, reid_error *err)
{
    return read_input(t, name, REID_SAFETENSORS_I32, (void **)ret_data, err);
}

reid_status tool_input_params(const tool *t, const char *prefix, const reid_params *params,
                              float *flat, reid_error *err)
{
    for (size_t i = 0; i < params->count; i++) {
        const reid_param *param = &params->items[i];
        REID_AUTOFREE char *name =
            prefix ? reid_xasprintf("%s.%s", prefix, param->name) : reid_xstrdup(param->name);
        REID_AUTOFREE float *plain =
            reid_xcalloc(reid_params_plain_count(params, i), sizeof *plain);
        REID_TRY(reid_safetensors_read_exact(t->input, name, REID_SAFETENSORS_F32, param->rank,
                                             param->shape, plain, err));
        reid_params_from_plain(params, i, plain, flat);
    }
    return REID_OK;
}

reid_status tool_input_buffers(const tool *t, reid_params *params, reid_error *err)
{
    for (size_t i = 0; i < params->buffer_count; i++) {
        REID_AUTOFREE float *plain = NULL;
        REID_TRY(tool_input_floats(t, params->buffers[i].name, &plain, err));
        reid_params_buffer_set(params, i, plain);
    }
    return REID_OK;
}

static reid_status run(tool *t, const struct command *command, int argc, char **argv,
                       reid_error *err)
{
    REID_AUTOFREE char *config = reid_path_join(t->folder, "config.yaml");
    REID_AUTOFREE char *input = reid_path_join(t->folder, "input.safetensors");
    REID_AUTOFREE char *output = reid_path_join(t->folder, "output.safetensors");
    t->config = reid_config_new();
    REID_TRY(reid_config_load_file(t->config, config, err));
    if (!command->tensors)
        return command->run(t, argc, argv, err);
    REID_TRY(
        reid_backend_open(reid_config_string(t->config, "MODEL.BACKEND"), 2, &t->backend, err));
    REID_TRY(reid_safetensors_open(input, &t->input, err));
    REID_TRY(command->run(t, argc, argv, err));
    return reid_safetensors_write(output, t->output.items, t->output.count, NULL, 0, NULL, NULL,
                                  err);
}

static void fini(tool *t)
{
    for (size_t i = 0; i < t->output.count; i++) {
        free((void *)t->output.items[i].name);
        free((void *)t->output.items[i].data);
    }
    reid_vec_fini(&t->output);
    reid_safetensors_free(t->input);
    reid_backend_free(t->backend);
    reid_config_free(t->config);
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc >= 3 && i < REID_COUNT_OF(commands); i++) {
        if (strcmp(commands[i].name, argv[1]) != 0)
            continue;
        reid_error err = {0};
        tool t = {.folder = argv[2]};
        reid_status status = run(&t, &commands[i], argc - 3, argv + 3, &err);
        if (status != REID_OK)
            fprintf(stderr, "parity_tool: %s\n", err.text);
        fini(&t);
        return status == REID_OK ? 0 : 1;
    }
    fprintf(stderr, "usage:\n");
    for (size_t i = 0; i < REID_COUNT_OF(commands); i++)
        fprintf(stderr, "  parity_tool %s\n", commands[i].usage);
    return 2;
}
