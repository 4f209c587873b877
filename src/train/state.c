#include "train/state.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/vec.h"
#include "checkpoint/checkpoint.h"
#include "train/convolution.h"
#include "train/device.h"

#define MODEL_FILE "model.safetensors"
#define OPTIMIZER_FILE "optimizer.safetensors"
#define EVENTS_FILE "events.bin"
#define STATE_VERSION 1

struct reid_state_reader {
    reid_checkpoint *checkpoint; /* NULL on ranks above 0 */
    struct {
        int64_t optimizer_steps;
        double loss_scale; /* 0: that run had none */
        int64_t good_steps;
    } counts; /* the same on all ranks */
};

/* ---- saving ---- */

/* One tensor on its way to disk: a range of a flat buffer, or running statistics. */
typedef struct source {
    const reid_params *params;
    size_t index;
    const float *flat; /* NULL: a running statistic */
} source;

static reid_status fill_tensor(void *user, void *ret_data, size_t bytes, reid_error *err)
{
    (void)bytes;
    const source *from = user;
    if (from->flat != NULL) {
        reid_params_to_plain(from->params, from->index, from->flat, ret_data);
    } else if (from->params->buffers[from->index].integer) {
        float value = 0;
        reid_params_buffer_get(from->params, from->index, &value);
        *(int64_t *)ret_data = (int64_t)value;
    } else {
        reid_params_buffer_get(from->params, from->index, ret_data);
    }
    return reid_backend_status(from->params->backend, err); /* a copy that failed is not saved */
}

static reid_status add_tensor(reid_checkpoint_writer *writer, const char *file, const char *name,
                              const int64_t *shape, int rank, source *from, reid_error *err)
{
    reid_safetensors_item item = {.name = name, .rank = rank, .fill = fill_tensor, .user = from};
    item.dtype = REID_SAFETENSORS_F32;
    if (from->flat == NULL && from->params->buffers[from->index].integer)
        item.dtype = REID_SAFETENSORS_I64;
    memcpy(item.shape, shape, (size_t)rank * sizeof *shape);
    return reid_checkpoint_writer_add_tensor(writer, file, &item, err);
}

static reid_status add_network(reid_session *session, reid_checkpoint_writer *writer,
                               source *sources, reid_error *err)
{
    const reid_params *params = session->params;
    for (size_t i = 0; i < params->count; i++, sources++) {
        const reid_param *param = &params->items[i];
        *sources = (source){params, i, params->value};
        REID_TRY(
            add_tensor(writer, MODEL_FILE, param->name, param->shape, param->rank, sources, err));
    }
    for (size_t i = 0; i < params->buffer_count; i++, sources++) {
        const reid_param_buffer *buffer = &params->buffers[i];
        *sources = (source){params, i, NULL};
        REID_TRY(add_tensor(writer, MODEL_FILE, buffer->name, buffer->shape, buffer->rank, sources,
                            err));
    }
    for (size_t s = 0; s < reid_optimizer_state_count(session->optimizer); s++) {
        reid_optimizer_state state = reid_optimizer_state_at(session->optimizer, s);
        for (size_t i = 0; i < params->count; i++, sources++) {
            const reid_param *param = &params->items[i];
            if (!param->trainable)
                continue;
            *sources = (source){params, i, state.flat};
            char *name = reid_xasprintf("%s.%s", state.name, param->name);
            reid_status status =
                add_tensor(writer, OPTIMIZER_FILE, name, param->shape, param->rank, sources, err);
            free(name);
            REID_TRY(status);
        }
    }
    return REID_OK;
}

static reid_status add_texts(reid_session *session, reid_checkpoint_writer *writer, reid_error *err)
{
    reid_str text = REID_STR_INIT;
    reid_json_writer w = reid_json_begin(&text);
    reid_json_object(&w);
    reid_json_key(&w, "version");
    reid_json_int(&w, STATE_VERSION);
    reid_json_key(&w, "seed");
    reid_json_int(&w, (int64_t)session->seed);
    reid_json_key(&w, "optimizer");
    reid_json_string(&w, reid_optimizer_name(session->optimizer));
    reid_json_key(&w, "optimizer_steps");
    reid_json_int(&w, reid_optimizer_step_count(session->optimizer));
    if (session->plan_options.compute == REID_F16) {
        reid_json_key(&w, "loss_scale");
        reid_json_double(&w, session->loss_scale.scale);
        reid_json_key(&w, "loss_scale_good_steps");
        reid_json_int(&w, session->loss_scale.good_steps);
    }
    reid_json_end_object(&w);
    reid_status status =
        reid_checkpoint_writer_add_text(writer, REID_STATE_FILE, text.data, text.length, err);

    reid_str_clear(&text);
    reid_trainer_save_state(&session->trainer.base, &text);
    if (status == REID_OK)
        status =
            reid_checkpoint_writer_add_text(writer, REID_TRAINER_FILE, text.data, text.length, err);

    reid_str_clear(&text);
    reid_event_storage_save(session->trainer.base.storage, &text);
    if (status == REID_OK)
        status = reid_checkpoint_writer_add_text(writer, EVENTS_FILE, text.data, text.length, err);
    reid_str_fini(&text);

    char *yaml = reid_config_dump(session->config);
    if (status == REID_OK)
        status = reid_checkpoint_writer_add_text(writer, REID_CONFIG_FILE, yaml, strlen(yaml), err);
    free(yaml);
    if (status == REID_OK && session->tuning != NULL) {
        char *rows = reid_tuning_text(session->tuning);
        status = reid_checkpoint_writer_add_text(writer, REID_CONVOLUTIONS_FILE, rows, strlen(rows),
                                                 err);
        free(rows);
    }
    return status;
}

reid_status reid_state_save(reid_session *session, const char *name, bool last, reid_error *err)
{
    if (session->comm->rank != 0)
        return REID_OK;
    REID_TRY(reid_session_settle(session, err)); /* what a failed device left is not saved */
    const reid_trainer *trainer = &session->trainer.base;
    const reid_params *params = session->params;
    const reid_safetensors_pair libraries[] = {
        {"backend", reid_backend_name(session->backend)},
        {"comm", reid_comm_library(session->comm)},
    };
    const reid_checkpoint_options options = {
        .config_hash = reid_config_hash(session->config),
        .world_size = session->comm->size,
        .iteration = trainer->iter,
        .epoch = trainer->iter / trainer->iters_per_epoch,
        .libraries = libraries,
        .library_count = sizeof libraries / sizeof libraries[0],
        .mark_last = last,
    };
    reid_link_phase before = session->phase;
    reid_session_set_phase(session, REID_LINK_SAVING);
    double start_s = reid_profiler_clock(session->profiler);
    reid_checkpoint_writer *writer = NULL;
    source *sources = reid_xcalloc(
        (1 + reid_optimizer_state_count(session->optimizer)) * params->count + params->buffer_count,
        sizeof *sources);
    reid_status status =
        reid_checkpoint_writer_begin(session->output_dir, name, &options, &writer, err);
    if (status == REID_OK)
        status = add_network(session, writer, sources, err);
    if (status == REID_OK)
        status = add_texts(session, writer, err);
    if (status == REID_OK)
        status = reid_checkpoint_writer_commit(writer, err);
    if (status == REID_OK)
        reid_log_info("saved checkpoint %s/%s at iteration %lld", session->output_dir, name,
                      (long long)trainer->iter);
    reid_checkpoint_writer_free(writer);
    free(sources);
    reid_profiler_span(session->profiler, "checkpoint", start_s);
    reid_session_set_phase(session, before);
    return status;
}

/* ---- opening ---- */

static reid_status open_on_rank0(reid_session *session, reid_state_reader *reader,
                                 reid_resume_point *ret_point, reid_error *err)
{
    reid_status status =
        session->start_path
            ? reid_checkpoint_open(session->start_path, true, &reader->checkpoint, err)
            : reid_checkpoint_latest(session->output_dir, &reader->checkpoint, err);
    if (status == REID_ERR_NOT_FOUND && !session->start_path) {
        reid_error_clear(err);
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "--resume: there is no checkpoint in '%s'; start without --resume, or set "
                         "OUTPUT_DIR to the folder of the run to go on with",
                         session->output_dir);
    }
    REID_TRY(status);
    const reid_checkpoint_info *info = reid_checkpoint_info_of(reader->checkpoint);
    char *text = NULL;
    size_t size = 0;
    reid_json *root = NULL;
    REID_TRY(reid_checkpoint_text(reader->checkpoint, REID_STATE_FILE, &text, &size, err));
    status = reid_json_parse(text, size, &root, err);
    free(text);
    if (status == REID_OK && reid_json_as_int(reid_json_get(root, "version"), 0) != STATE_VERSION)
        status = reid_fail(err, REID_ERR_UNSUPPORTED,
                           "'%s' was written by another version of reidd", info->path);
    const char *optimizer = reid_json_as_string(reid_json_get(root, "optimizer"), "");
    const char *wanted = reid_config_string(session->config, "SOLVER.OPT");
    if (status == REID_OK && strcmp(optimizer, wanted) != 0)
        status = reid_fail(err, REID_ERR_PRECONDITION,
                           "'%s' holds the state of %s, but SOLVER.OPT is %s; start anew with "
                           "MODEL.WEIGHTS instead of --resume",
                           info->path, optimizer, wanted);
    if (status == REID_OK) {
        ret_point->found = true;
        ret_point->iteration = info->iteration;
        ret_point->seed = (uint64_t)reid_json_as_int(reid_json_get(root, "seed"), 0);
        reader->counts.optimizer_steps =
            reid_json_as_int(reid_json_get(root, "optimizer_steps"), 0);
        reader->counts.loss_scale = reid_json_as_double(reid_json_get(root, "loss_scale"), 0);
        reader->counts.good_steps =
            reid_json_as_int(reid_json_get(root, "loss_scale_good_steps"), 0);
        reid_log_info("resuming from %s at iteration %lld", info->path, (long long)info->iteration);
        if (info->config_hash != reid_config_hash(session->config))
            reid_log_warn("the configuration differs from that of the checkpoint");
        if (info->world_size != session->comm->size)
            reid_log_warn(
                "the checkpoint was written by %d ranks, this run has %d: it goes on, but not "
                "bit for bit",
                info->world_size, session->comm->size);
    }
    reid_json_free(root);
    return status;
}

reid_status reid_state_open(reid_session *session, reid_state_reader **ret_reader,
                            reid_resume_point *ret_point, reid_error *err)
{
    *ret_point = (reid_resume_point){0};
    *ret_reader = NULL;
    if (!session->goes_on)
        return REID_OK;
    reid_state_reader *reader = reid_xcalloc(1, sizeof *reader);
    *ret_reader = reader;
    if (session->comm->rank == 0)
        REID_TRY(open_on_rank0(session, reader, ret_point, err));
    REID_TRY(reid_comm_broadcast(session->comm, ret_point, sizeof *ret_point, 0, err));
    return reid_comm_broadcast(session->comm, &reader->counts, sizeof reader->counts, 0, err);
}

char *reid_state_text(const reid_state_reader *reader, const char *file)
{
    char *text = NULL;
    size_t size = 0;
    if (reader->checkpoint == NULL || !reid_checkpoint_has(reader->checkpoint, file) ||
        reid_checkpoint_text(reader->checkpoint, file, &text, &size, NULL) != REID_OK)
        return NULL;
    return text;
}

void reid_state_close(reid_state_reader *reader)
{
    if (reader == NULL)
        return;
    reid_checkpoint_free(reader->checkpoint);
    free(reader);
}

/* ---- network ---- */

static float *plain_buffer(const reid_params *params)
{
    size_t largest = 1;
    for (size_t i = 0; i < params->count; i++)
        largest = REID_MAX(largest, reid_params_plain_count(params, i));
    return reid_alloc(largest, sizeof(float));
}

static reid_status read_param(reid_session *session, const reid_safetensors *tensors,
                              const char *prefix, size_t index, float *flat, float *plain,
                              reid_error *err)
{
    const reid_param *param = &session->params->items[index];
    char *name = reid_xasprintf("%s%s", prefix, param->name);
    reid_status status = reid_safetensors_read_exact(tensors, name, REID_SAFETENSORS_F32,
                                                     param->rank, param->shape, plain, err);
    free(name);
    if (status == REID_OK)
        reid_params_from_plain(session->params, index, plain, flat);
    return status;
}

static reid_status read_buffer(reid_session *session, const reid_safetensors *tensors, size_t index,
                               reid_error *err)
{
    reid_params *params = session->params;
    const reid_param_buffer *buffer = &params->buffers[index];
    if (buffer->integer) {
        int64_t value = 0;
        REID_TRY(reid_safetensors_read_exact(tensors, buffer->name, REID_SAFETENSORS_I64, 0, NULL,
                                             &value, err));
        float as_float = (float)value;
        reid_params_buffer_set(params, index, &as_float);
        return REID_OK;
    }
    float *plain = reid_alloc((size_t)buffer->shape[0], sizeof *plain);
    if (plain == NULL)
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for '%s'", buffer->name);
    reid_status status = reid_safetensors_read_exact(tensors, buffer->name, REID_SAFETENSORS_F32,
                                                     buffer->rank, buffer->shape, plain, err);
    if (status == REID_OK)
        reid_params_buffer_set(params, index, plain);
    free(plain);
    return status;
}

static reid_status read_network(reid_session *session, reid_state_reader *reader, reid_error *err)
{
    const reid_params *params = session->params;
    const reid_safetensors *tensors = NULL;
    float *plain = plain_buffer(params);
    if (plain == NULL)
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory to read the checkpoint");
    reid_status status = reid_checkpoint_tensors(reader->checkpoint, MODEL_FILE, &tensors, err);
    for (size_t i = 0; i < params->count && status == REID_OK; i++)
        status = read_param(session, tensors, "", i, params->value, plain, err);
    for (size_t i = 0; i < params->buffer_count && status == REID_OK; i++)
        status = read_buffer(session, tensors, i, err);
    size_t states = session->optimizer != NULL ? reid_optimizer_state_count(session->optimizer) : 0;
    if (status == REID_OK && states > 0)
        status = reid_checkpoint_tensors(reader->checkpoint, OPTIMIZER_FILE, &tensors, err);
    for (size_t s = 0; s < states && status == REID_OK; s++) {
        reid_optimizer_state state = reid_optimizer_state_at(session->optimizer, s);
        char *prefix = reid_xasprintf("%s.", state.name);
        for (size_t i = 0; i < params->count && status == REID_OK; i++)
            if (params->items[i].trainable)
                status = read_param(session, tensors, prefix, i, state.flat, plain, err);
        free(prefix);
    }
    free(plain);
    return status;
}

/* ---- MODEL.WEIGHTS ---- */

/* As fast-reid: what fits is taken, what does not is named in a warning. */
static reid_status take_weights(reid_session *session, const reid_safetensors *tensors,
                                const char *path, reid_error *err)
{
    const reid_params *params = session->params;
    float *plain = plain_buffer(params);
    if (plain == NULL)
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory to read '%s'", path);
    size_t taken = 0;
    for (size_t i = 0; i < params->count; i++) {
        reid_error why = {0};
        if (read_param(session, tensors, "", i, params->value, plain, &why) == REID_OK)
            taken++;
        else
            reid_log_warn("%s keeps its initial value: %s", params->items[i].name, why.text);
    }
    for (size_t i = 0; i < params->buffer_count; i++) {
        reid_error why = {0};
        if (read_buffer(session, tensors, i, &why) != REID_OK)
            reid_log_warn("%s keeps its initial value: %s", params->buffers[i].name, why.text);
    }
    for (size_t i = 0; i < reid_safetensors_count(tensors); i++) {
        const char *name = reid_safetensors_at(tensors, i)->name;
        if (reid_params_find(params, name) == REID_PARAM_NONE &&
            reid_params_find_buffer(params, name) == REID_PARAM_NONE)
            reid_log_warn("'%s' holds %s, which this network does not have", path, name);
    }
    free(plain);
    if (taken == 0)
        return reid_fail(
            err, REID_ERR_INVALID,
            "MODEL.WEIGHTS: nothing in '%s' fits this network; are MODEL.BACKBONE.DEPTH and "
            "its like those it was trained with?",
            path);
    reid_log_info("took %zu of %zu parameters from %s", taken, params->count, path);
    return REID_OK;
}

static reid_status load_weights(reid_session *session, const char *path, reid_error *err)
{
    if (reid_str_ends(path, ".pth") || reid_str_ends(path, ".pkl") || reid_str_ends(path, ".pyth"))
        return reid_fail(
            err, REID_ERR_UNSUPPORTED,
            "MODEL.WEIGHTS '%s': PyTorch's pickles are not supported yet; convert it with "
            "safetensors.torch.save_file(torch.load(file)['model'], 'model.safetensors')",
            path);
    reid_status status;
    if (reid_path_is_dir(path)) {
        reid_checkpoint *checkpoint = NULL;
        const reid_safetensors *tensors = NULL;
        status = reid_checkpoint_open(path, true, &checkpoint, err);
        if (status == REID_OK)
            status = reid_checkpoint_tensors(checkpoint, MODEL_FILE, &tensors, err);
        if (status == REID_OK)
            status = take_weights(session, tensors, path, err);
        reid_checkpoint_free(checkpoint);
    } else {
        reid_safetensors *file = NULL;
        status = reid_safetensors_open(path, &file, err);
        if (status == REID_OK)
            status = take_weights(session, file, path, err);
        reid_safetensors_free(file);
    }
    return status == REID_OK ? REID_OK : reid_error_prefix(err, "MODEL.WEIGHTS");
}

/* Rank 0's state becomes everybody's: between devices, else through host memory. */
static reid_status broadcast_device(reid_session *session, void *device, size_t bytes,
                                    reid_error *err)
{
    if (session->comm->size == 1 || bytes == 0)
        return REID_OK;
    if (session->device_comm) {
        REID_TRY(reid_comm_broadcast(session->device_comm, device, bytes, 0, err));
        return reid_session_settle(session, err);
    }
    if (reid_backend_is_host(session->backend))
        return reid_comm_broadcast(session->comm, device, bytes, 0, err);
    void *host = reid_alloc(bytes, 1);
    if (host == NULL)
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for %zu bytes of parameters", bytes);
    reid_backend_copy_out(session->backend, host, device, bytes);
    reid_status status = reid_comm_broadcast(session->comm, host, bytes, 0, err);
    if (status == REID_OK)
        reid_backend_copy_in(session->backend, device, host, bytes);
    free(host);
    return status;
}

reid_status reid_state_load_network(reid_session *session, reid_state_reader *reader,
                                    reid_error *err)
{
    const char *weights = reid_config_string(session->config, "MODEL.WEIGHTS");
    if (session->comm->rank == 0) {
        if (reader != NULL)
            REID_TRY(read_network(session, reader, err));
        else if (*weights != '\0')
            REID_TRY(load_weights(session, weights, err));
    }
    reid_params *params = session->params;
    REID_TRY(broadcast_device(session, params->value, params->total * sizeof(float), err));
    REID_TRY(broadcast_device(session, params->buffer_memory, params->buffer_bytes, err));
    if (reader == NULL || session->optimizer == NULL)
        return REID_OK;
    for (size_t s = 0; s < reid_optimizer_state_count(session->optimizer); s++)
        REID_TRY(broadcast_device(session, reid_optimizer_state_at(session->optimizer, s).flat,
                                  params->total * sizeof(float), err));
    reid_optimizer_set_step_count(session->optimizer, reader->counts.optimizer_steps);
    if (reader->counts.loss_scale > 0) {
        session->loss_scale.scale = reader->counts.loss_scale;
        session->loss_scale.good_steps = reader->counts.good_steps;
    }
    return REID_OK;
}

/* ---- trainer ---- */

/* Rank 0's text to all; caller frees. */
static reid_status share_text(reid_session *session, reid_state_reader *reader, const char *file,
                              char **ret_text, size_t *ret_size, reid_error *err)
{
    char *text = NULL;
    uint64_t size = 0;
    if (reader->checkpoint != NULL) {
        size_t bytes = 0;
        REID_TRY(reid_checkpoint_text(reader->checkpoint, file, &text, &bytes, err));
        size = bytes;
    }
    reid_status status = reid_comm_broadcast(session->comm, &size, sizeof size, 0, err);
    if (status == REID_OK && text == NULL) {
        text = reid_alloc(size + 1, 1);
        if (text == NULL)
            status = reid_fail(err, REID_ERR_EXHAUSTED, "no memory for %s of %llu bytes", file,
                               (unsigned long long)size);
    }
    if (status == REID_OK && size > 0)
        status = reid_comm_broadcast(session->comm, text, size, 0, err);
    if (status != REID_OK) {
        free(text);
        return status;
    }
    *ret_text = text;
    *ret_size = size;
    return REID_OK;
}

reid_status reid_state_load_trainer(reid_session *session, reid_state_reader *reader,
                                    int64_t *ret_iteration, reid_error *err)
{
    *ret_iteration = 0;
    if (reader == NULL)
        return REID_OK;
    char *text = NULL;
    size_t size = 0;
    REID_TRY(share_text(session, reader, REID_TRAINER_FILE, &text, &size, err));
    reid_status status =
        reid_trainer_load_state(&session->trainer.base, text, size, ret_iteration, err);
    free(text);
    REID_TRY(status);
    REID_TRY(share_text(session, reader, EVENTS_FILE, &text, &size, err));
    status = reid_event_storage_load(session->trainer.base.storage, text, size, err);
    free(text);
    return status;
}
