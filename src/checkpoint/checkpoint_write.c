#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/folder.h"
#include "checkpoint/last.h"
#include "checkpoint/manifest.h"

#define SPACE_MARGIN_BYTES ((uint64_t)1 << 20) /* headers, manifest, folders */

/* A text, or a file of tensors when `text` is NULL. */
typedef struct new_file {
    char *name;
    char *text;
    size_t text_bytes;
    REID_VEC(reid_safetensors_item) items; /* names owned */
} new_file;

struct reid_checkpoint_writer {
    char *output_dir, *place; /* place: OUTPUT_DIR/NAME */
    char *fresh, *replaced;   /* OUTPUT_DIR/.tmp-… and .old-… */
    reid_manifest manifest;
    REID_VEC(new_file) files;
    bool mark_last, no_exchange, committed;
    reid_checkpoint_fault *fault;
    void *fault_user;
};

/* ---- collecting ---- */

reid_status reid_checkpoint_writer_begin(const char *output_dir, const char *name,
                                         const reid_checkpoint_options *options,
                                         reid_checkpoint_writer **ret_writer, reid_error *err)
{
    if (!reid_manifest_is_file_name(name))
        return reid_fail(err, REID_ERR_INVALID, "'%s' cannot be the name of a checkpoint", name);
    REID_ASSERT(options->world_size > 0 && options->iteration >= 0 && options->epoch >= 0);
    REID_TRY(reid_make_dirs(output_dir, 0777, err));
    reid_folder_recover(output_dir);
    reid_folder_clean(output_dir);
    REID_AUTOFREE char *fresh = reid_folder_name(REID_FOLDER_NEW, name);
    REID_AUTOFREE char *replaced = reid_folder_name(REID_FOLDER_OLD, name);
    reid_checkpoint_writer *w = reid_xcalloc(1, sizeof *w);
    w->output_dir = reid_xstrdup(output_dir);
    w->place = reid_path_join(output_dir, name);
    w->fresh = reid_path_join(output_dir, fresh);
    w->replaced = reid_path_join(output_dir, replaced);
    w->mark_last = options->mark_last;
    w->no_exchange = options->no_exchange;
    w->fault = options->fault;
    w->fault_user = options->fault_user;
    w->manifest.name = reid_xstrdup(name);
    w->manifest.config_hash = options->config_hash;
    w->manifest.world_size = options->world_size;
    w->manifest.iteration = options->iteration;
    w->manifest.epoch = options->epoch;
    for (size_t i = 0; i < options->library_count; i++) {
        reid_manifest_library library = {reid_xstrdup(options->libraries[i].key),
                                         reid_xstrdup(options->libraries[i].value)};
        reid_vec_push(&w->manifest.libraries, library);
    }
    *ret_writer = w;
    return REID_OK;
}

static void new_file_fini(new_file *f)
{
    for (size_t i = 0; i < f->items.count; i++)
        free((char *)f->items.items[i].name);
    reid_vec_fini(&f->items);
    free(f->name);
    free(f->text);
}

void reid_checkpoint_writer_free(reid_checkpoint_writer *writer)
{
    if (!writer)
        return;
    for (size_t i = 0; i < writer->files.count; i++)
        new_file_fini(&writer->files.items[i]);
    reid_vec_fini(&writer->files);
    reid_manifest_fini(&writer->manifest);
    free(writer->output_dir);
    free(writer->place);
    free(writer->fresh);
    free(writer->replaced);
    free(writer);
}

static new_file *find_file(reid_checkpoint_writer *w, const char *name)
{
    for (size_t i = 0; i < w->files.count; i++) {
        if (strcmp(w->files.items[i].name, name) == 0)
            return &w->files.items[i];
    }
    return NULL;
}

static reid_status add_file(reid_checkpoint_writer *w, const char *name, new_file **ret_file,
                            reid_error *err)
{
    if (!reid_manifest_is_file_name(name))
        return reid_fail(err, REID_ERR_INVALID, "'%s' cannot be the name of a file of a checkpoint",
                         name);
    new_file file = {.name = reid_xstrdup(name)};
    reid_vec_push(&w->files, file);
    *ret_file = &w->files.items[w->files.count - 1];
    return REID_OK;
}

reid_status reid_checkpoint_writer_add_tensor(reid_checkpoint_writer *writer, const char *file,
                                              const reid_safetensors_item *item, reid_error *err)
{
    REID_ASSERT(!writer->committed);
    new_file *f = find_file(writer, file);
    size_t bytes;
    REID_TRY(reid_safetensors_item_bytes(item, &bytes, err));
    if (f && f->text)
        return reid_fail(err, REID_ERR_EXISTS, "'%s' is a text of this checkpoint already", file);
    if (!f)
        REID_TRY(add_file(writer, file, &f, err));
    reid_safetensors_item copy = *item;
    copy.name = reid_xstrdup(item->name);
    reid_vec_push(&f->items, copy);
    return REID_OK;
}

reid_status reid_checkpoint_writer_add_text(reid_checkpoint_writer *writer, const char *file,
                                            const void *text, size_t bytes, reid_error *err)
{
    REID_ASSERT(!writer->committed);
    new_file *f = find_file(writer, file);
    if (f)
        return reid_fail(err, REID_ERR_EXISTS, "'%s' is a file of this checkpoint already", file);
    char *copy = reid_alloc(bytes + 1, 1);
    if (!copy)
        return reid_fail(err, REID_ERR_EXHAUSTED, "out of memory for the %zu bytes of '%s'", bytes,
                         file);
    if (bytes > 0)
        memcpy(copy, text, bytes);
    reid_status status = add_file(writer, file, &f, err);
    if (status != REID_OK) {
        free(copy);
        return status;
    }
    f->text = copy;
    f->text_bytes = bytes;
    return REID_OK;
}

/* ---- committing ---- */

/* The step that follows, before it is done. */
static reid_status before(const reid_checkpoint_writer *w, const char *verb, const char *path,
                          reid_error *err)
{
    if (!w->fault)
        return REID_OK;
    REID_AUTOFREE char *step = reid_xasprintf("%s %s", verb, reid_path_base(path));
    int failed = w->fault(w->fault_user, step);
    return failed ? reid_fail_errno(err, failed, "cannot %s '%s'", verb, path) : REID_OK;
}

static reid_status check_space(const reid_checkpoint_writer *w, reid_error *err)
{
    uint64_t need = SPACE_MARGIN_BYTES;
    for (size_t i = 0; i < w->files.count; i++) {
        const new_file *f = &w->files.items[i];
        need += f->text_bytes;
        for (size_t k = 0; k < f->items.count; k++) {
            size_t bytes;
            REID_TRY(reid_safetensors_item_bytes(&f->items.items[k], &bytes, err));
            if (__builtin_add_overflow(need, bytes, &need))
                return reid_fail(err, REID_ERR_INVALID,
                                 "the tensors are too large for one checkpoint");
        }
    }
    struct statvfs info;
    if (statvfs(w->output_dir, &info) != 0)
        return REID_OK; /* writing will tell */
    uint64_t have = (uint64_t)info.f_bavail * info.f_frsize;
    if (info.f_blocks > 0 && have < need)
        return reid_fail(err, REID_ERR_EXHAUSTED,
                         "the disk of '%s' is full: %llu MB are needed, %llu MB are free",
                         w->output_dir, (unsigned long long)(need >> 20),
                         (unsigned long long)(have >> 20));
    return REID_OK;
}

static reid_status write_synced(const char *path, const void *data, size_t bytes, reid_error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot make '%s'", path);
    reid_status status = reid_write_all(fd, data, bytes, path, err);
    if (status == REID_OK && fsync(fd) != 0)
        status = reid_fail_errno(err, errno, "cannot write '%s' to disk", path);
    if (close(fd) != 0 && status == REID_OK)
        status = reid_fail_errno(err, errno, "cannot write '%s'", path);
    return status;
}

static reid_status write_file(reid_checkpoint_writer *w, const new_file *f, reid_error *err)
{
    static const reid_safetensors_pair format[] = {
        {"format", "pt"}}; /* what transformers and others ask for */
    REID_AUTOFREE char *path = reid_path_join(w->fresh, f->name);
    reid_manifest_file entry = {0};
    REID_TRY(before(w, "write", path, err));
    if (f->text) {
        REID_TRY(write_synced(path, f->text, f->text_bytes, err));
        entry.bytes = f->text_bytes;
        entry.hash = reid_hash64(f->text, f->text_bytes, 0);
    } else {
        REID_TRY(reid_safetensors_write(path, f->items.items, f->items.count, format, 1,
                                        &entry.bytes, &entry.hash, err));
    }
    entry.name = reid_xstrdup(f->name);
    reid_vec_push(&w->manifest.files, entry);
    return REID_OK;
}

/* Everything into the new folder, the manifest last. */
static reid_status fill_folder(reid_checkpoint_writer *w, reid_error *err)
{
    for (size_t i = 0; i < w->files.count; i++)
        REID_TRY(write_file(w, &w->files.items[i], err));
    w->manifest.created_ms = reid_clock_wall_ms();
    reid_str text = REID_STR_INIT;
    reid_manifest_render(&w->manifest, &text);
    REID_AUTOFREE char *path = reid_path_join(w->fresh, REID_MANIFEST_FILE);
    reid_status status = before(w, "write", path, err);
    if (status == REID_OK)
        status = write_synced(path, text.data, text.length, err);
    reid_str_fini(&text);
    REID_TRY(status);
    REID_TRY(before(w, "sync", w->fresh, err));
    return reid_fsync_dir(w->fresh, err);
}

static reid_status move(const reid_checkpoint_writer *w, const char *from, const char *to,
                        reid_error *err)
{
    REID_TRY(before(w, "rename", from, err));
    if (rename(from, to) != 0)
        return reid_fail_errno(err, errno, "cannot rename '%s' to '%s'", from, to);
    return REID_OK;
}

/* After it the old checkpoint is at *ret_garbage, if there was one. */
static reid_status put_in_place(reid_checkpoint_writer *w, const char **ret_garbage,
                                reid_error *err)
{
    *ret_garbage = NULL;
    if (!reid_path_exists(w->place))
        return move(w, w->fresh, w->place, err);
    REID_TRY(before(w, "exchange", w->fresh, err));
    if (!w->no_exchange &&
        renameat2(AT_FDCWD, w->fresh, AT_FDCWD, w->place, RENAME_EXCHANGE) == 0) {
        *ret_garbage = w->fresh;
        return REID_OK;
    }
    if (!w->no_exchange && errno != EINVAL && errno != ENOSYS && errno != ENOTSUP)
        return reid_fail_errno(err, errno, "cannot replace '%s'", w->place);
    REID_TRY(reid_remove_tree(w->replaced, err));
    REID_TRY(move(w, w->place, w->replaced, err));
    reid_status status = move(w, w->fresh, w->place, err);
    if (status == REID_OK)
        *ret_garbage = w->replaced;
    else if (rename(w->replaced, w->place) !=
             0) /* recovered by the next writer or reader instead */
        reid_log_warn("checkpoint cannot put '%s' back: %s", w->place, strerror(errno));
    return status;
}

static reid_status finish(reid_checkpoint_writer *w, const char *garbage, reid_error *err)
{
    reid_error fault = {0};
    REID_TRY(before(w, "sync", w->output_dir, err));
    REID_TRY(reid_fsync_dir(w->output_dir, err));
    if (w->mark_last) {
        REID_TRY(before(w, "mark", w->place, err));
        REID_TRY(reid_checkpoint_last_write(w->output_dir, w->manifest.name, err));
    }
    if (!garbage)
        return REID_OK;
    REID_TRY(before(w, "remove", garbage, err));
    if (reid_remove_tree(garbage, &fault) != REID_OK) /* the next writer tries again */
        reid_log_warn("checkpoint cannot clean up: %s", fault.text);
    return REID_OK;
}

static reid_status commit(reid_checkpoint_writer *w, reid_error *err)
{
    int lock = -1;
    const char *garbage = NULL;
    REID_TRY(check_space(w, err));
    REID_TRY(before(w, "make", w->fresh, err));
    reid_status status = reid_folder_make(w->fresh, &lock, err);
    if (status == REID_OK)
        status = fill_folder(w, err);
    if (status == REID_OK)
        status = put_in_place(w, &garbage, err);
    if (status != REID_OK)
        reid_remove_tree(w->fresh, NULL);
    else
        status = finish(w, garbage, err);
    if (lock >= 0)
        close(lock);
    return status;
}

reid_status reid_checkpoint_writer_commit(reid_checkpoint_writer *writer, reid_error *err)
{
    reid_error fault = {0};
    REID_ASSERT(!writer->committed);
    writer->committed = true;
    reid_status status = commit(writer, &fault);
    if (status == REID_OK)
        return REID_OK;
    return reid_fail(err, status, "cannot save the checkpoint '%s': %s", writer->place, fault.text);
}
