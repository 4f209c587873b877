#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/folder.h"
#include "checkpoint/last.h"
#include "checkpoint/manifest.h"

#define HASH_BYTES ((size_t)1 << 20)
#define TEXT_LIMIT_BYTES ((size_t)256 << 20)

struct reid_checkpoint {
    char *path;
    reid_manifest manifest;
    reid_checkpoint_info info;
    reid_safetensors **tensors; /* by place in manifest.files; NULL until asked for */
};

/* ---- opening ---- */

static reid_status check_size(const char *path, uint64_t bytes, reid_error *err)
{
    struct stat info;
    if (stat(path, &info) != 0 && errno == ENOENT)
        return reid_fail(err, REID_ERR_CORRUPT, "'%s' is missing", path);
    if (stat(path, &info) != 0)
        return reid_fail_errno(err, errno, "cannot read '%s'", path);
    if (!S_ISREG(info.st_mode) || (uint64_t)info.st_size != bytes)
        return reid_fail(err, REID_ERR_CORRUPT,
                         "'%s' is damaged: it has %lld bytes, %llu were written", path,
                         (long long)info.st_size, (unsigned long long)bytes);
    return REID_OK;
}

static reid_status hash_file(int fd, const char *path, uint64_t *ret_hash, reid_error *err)
{
    reid_hash_state *state = reid_hash_new();
    char *buffer = reid_xmalloc(HASH_BYTES);
    reid_status status = REID_OK;
    for (;;) {
        ssize_t got = read(fd, buffer, HASH_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            status = reid_fail_errno(err, errno, "cannot read '%s'", path);
        if (got <= 0)
            break;
        reid_hash_update(state, buffer, (size_t)got);
    }
    *ret_hash = reid_hash_digest(state);
    reid_hash_free(state);
    free(buffer);
    return status;
}

static reid_status check_hash(const char *path, uint64_t expected, reid_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot open '%s'", path);
    uint64_t hash = 0;
    reid_status status = hash_file(fd, path, &hash, err);
    close(fd);
    if (status == REID_OK && hash != expected)
        return reid_fail(err, REID_ERR_CORRUPT,
                         "'%s' is damaged: its checksum is %016llx, %016llx was written", path,
                         (unsigned long long)hash, (unsigned long long)expected);
    return status;
}

static reid_status check_files(const reid_checkpoint *c, bool verify, reid_error *err)
{
    for (size_t i = 0; i < c->manifest.files.count; i++) {
        const reid_manifest_file *file = &c->manifest.files.items[i];
        REID_AUTOFREE char *path = reid_path_join(c->path, file->name);
        REID_TRY(check_size(path, file->bytes, err));
        if (verify)
            REID_TRY(check_hash(path, file->hash, err));
    }
    return REID_OK;
}

reid_status reid_checkpoint_open(const char *dir, bool verify, reid_checkpoint **ret_checkpoint,
                                 reid_error *err)
{
    reid_checkpoint *c = reid_xcalloc(1, sizeof *c);
    c->path = reid_xstrdup(dir);
    reid_status status = reid_manifest_read(dir, &c->manifest, err);
    if (status == REID_OK)
        status = check_files(c, verify, err);
    if (status != REID_OK) {
        reid_checkpoint_free(c);
        return status;
    }
    c->tensors = reid_xcalloc(c->manifest.files.count + 1, sizeof *c->tensors);
    c->info = (reid_checkpoint_info){
        .path = c->path,
        .name = c->manifest.name,
        .config_hash = c->manifest.config_hash,
        .world_size = c->manifest.world_size,
        .iteration = c->manifest.iteration,
        .epoch = c->manifest.epoch,
        .created_ms = c->manifest.created_ms,
    };
    *ret_checkpoint = c;
    return REID_OK;
}

void reid_checkpoint_free(reid_checkpoint *checkpoint)
{
    if (!checkpoint)
        return;
    for (size_t i = 0; checkpoint->tensors && i < checkpoint->manifest.files.count; i++)
        reid_safetensors_free(checkpoint->tensors[i]);
    free(checkpoint->tensors);
    reid_manifest_fini(&checkpoint->manifest);
    free(checkpoint->path);
    free(checkpoint);
}

/* ---- access ---- */

const reid_checkpoint_info *reid_checkpoint_info_of(const reid_checkpoint *checkpoint)
{
    return &checkpoint->info;
}

const char *reid_checkpoint_library(const reid_checkpoint *checkpoint, const char *name)
{
    for (size_t i = 0; i < checkpoint->manifest.libraries.count; i++) {
        if (strcmp(checkpoint->manifest.libraries.items[i].name, name) == 0)
            return checkpoint->manifest.libraries.items[i].version;
    }
    return NULL;
}

bool reid_checkpoint_has(const reid_checkpoint *checkpoint, const char *file)
{
    return reid_manifest_find(&checkpoint->manifest, file) != NULL;
}

/* Only what the manifest vouches for is read. */
static reid_status find_file(const reid_checkpoint *c, const char *file,
                             const reid_manifest_file **ret_file, reid_error *err)
{
    *ret_file = reid_manifest_find(&c->manifest, file);
    if (!*ret_file)
        return reid_fail(err, REID_ERR_NOT_FOUND, "the checkpoint '%s' has no '%s'", c->path, file);
    return REID_OK;
}

reid_status reid_checkpoint_tensors(reid_checkpoint *checkpoint, const char *file,
                                    const reid_safetensors **ret_tensors, reid_error *err)
{
    const reid_manifest_file *entry;
    REID_TRY(find_file(checkpoint, file, &entry, err));
    reid_safetensors **slot = &checkpoint->tensors[entry - checkpoint->manifest.files.items];
    if (!*slot) {
        REID_AUTOFREE char *path = reid_path_join(checkpoint->path, file);
        REID_TRY(reid_safetensors_open(path, slot, err));
    }
    *ret_tensors = *slot;
    return REID_OK;
}

reid_status reid_checkpoint_tensor(reid_checkpoint *checkpoint, const char *file, const char *name,
                                   reid_safetensors_dtype dtype, int rank, const int64_t *shape,
                                   void *ret_data, reid_error *err)
{
    const reid_safetensors *tensors;
    REID_TRY(reid_checkpoint_tensors(checkpoint, file, &tensors, err));
    return reid_safetensors_read_exact(tensors, name, dtype, rank, shape, ret_data, err);
}

reid_status reid_checkpoint_text(const reid_checkpoint *checkpoint, const char *file,
                                 char **ret_text, size_t *ret_size, reid_error *err)
{
    const reid_manifest_file *entry;
    char *text;
    size_t size;
    REID_TRY(find_file(checkpoint, file, &entry, err));
    REID_AUTOFREE char *path = reid_path_join(checkpoint->path, file);
    REID_TRY(reid_file_read(path, TEXT_LIMIT_BYTES, &text, &size, err));
    if (size != entry->bytes || reid_hash64(text, size, 0) != entry->hash) {
        free(text);
        return reid_fail(err, REID_ERR_CORRUPT, "'%s' is damaged: its checksum does not agree",
                         path);
    }
    *ret_text = text;
    *ret_size = size;
    return REID_OK;
}

/* ---- the newest ---- */

typedef struct candidate {
    char *path;
    int64_t iteration, created_ms;
} candidate;

static int compare_candidates(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->iteration != y->iteration)
        return x->iteration > y->iteration ? -1 : 1;
    if (x->created_ms != y->created_ms)
        return x->created_ms > y->created_ms ? -1 : 1;
    return strcmp(x->path, y->path);
}

static void warn_skipped(const char *path, const reid_error *err)
{
    reid_log_warn("checkpoint '%s' cannot be used: %s", path, err->text);
}

typedef struct candidates {
    candidate *items;
    size_t count;
    size_t broken; /* folders with a bad manifest */
} candidates;

static void candidates_fini(candidates *c)
{
    for (size_t i = 0; i < c->count; i++)
        free(c->items[i].path);
    free(c->items);
}

/* Folders without a manifest are none of ours. */
static void add_candidate(candidates *list, const char *path)
{
    reid_manifest manifest = {0};
    reid_error err = {0};
    reid_status status = reid_manifest_read(path, &manifest, &err);
    if (status == REID_OK) {
        list->items[list->count++] =
            (candidate){reid_xstrdup(path), manifest.iteration, manifest.created_ms};
    } else if (status != REID_ERR_NOT_FOUND) {
        warn_skipped(path, &err);
        list->broken++;
    }
    reid_manifest_fini(&manifest);
}

/* All but `except`, the best first. */
static reid_status list_candidates(const char *output_dir, const char *except, candidates *ret_list,
                                   reid_error *err)
{
    reid_dir_entry *entries = NULL;
    size_t count = 0;
    REID_TRY(reid_dir_list(output_dir, &entries, &count, err));
    ret_list->items = reid_xcalloc(count + 1, sizeof *ret_list->items);
    for (size_t i = 0; i < count; i++) {
        REID_AUTOFREE char *path = reid_path_join(output_dir, entries[i].name);
        if (entries[i].is_dir && entries[i].name[0] != '.' &&
            !(except && strcmp(entries[i].name, except) == 0))
            add_candidate(ret_list, path);
    }
    reid_dir_free(entries, count);
    qsort(ret_list->items, ret_list->count, sizeof *ret_list->items, compare_candidates);
    return REID_OK;
}

/* The one that last_checkpoint names; its name in *ret_name, if any. */
static reid_status open_last(const char *output_dir, char **ret_name,
                             reid_checkpoint **ret_checkpoint, size_t *ret_broken)
{
    reid_error err = {0};
    reid_status status = reid_checkpoint_last_read(output_dir, ret_name, &err);
    if (status == REID_ERR_NOT_FOUND)
        return status;
    if (status == REID_OK) {
        REID_AUTOFREE char *path = reid_path_join(output_dir, *ret_name);
        status = reid_checkpoint_open(path, true, ret_checkpoint, &err);
        if (status != REID_OK)
            warn_skipped(path, &err);
    } else {
        reid_log_warn("checkpoint %s", err.text);
    }
    *ret_broken += status != REID_OK;
    return status;
}

reid_status reid_checkpoint_latest(const char *output_dir, reid_checkpoint **ret_checkpoint,
                                   reid_error *err)
{
    REID_AUTOFREE char *last = NULL;
    candidates list = {0};
    size_t broken = 0;
    if (!reid_path_exists(output_dir))
        return reid_fail(err, REID_ERR_NOT_FOUND, "there is no checkpoint: '%s' does not exist",
                         output_dir);
    reid_folder_recover(output_dir);
    if (open_last(output_dir, &last, ret_checkpoint, &broken) == REID_OK)
        return REID_OK;
    REID_TRY(list_candidates(output_dir, last, &list, err));
    broken += list.broken;
    reid_status status = REID_ERR_NOT_FOUND;
    for (size_t i = 0; i < list.count && status != REID_OK; i++) {
        reid_error fault = {0};
        status = reid_checkpoint_open(list.items[i].path, true, ret_checkpoint, &fault);
        if (status != REID_OK)
            warn_skipped(list.items[i].path, &fault);
        else if (broken > 0)
            reid_log_warn("checkpoint '%s' is used instead", list.items[i].path);
        broken += status != REID_OK;
    }
    candidates_fini(&list);
    if (status == REID_OK)
        return REID_OK;
    if (broken == 0)
        return reid_fail(err, REID_ERR_NOT_FOUND, "there is no checkpoint in '%s'", output_dir);
    return reid_fail(err, REID_ERR_CORRUPT,
                     "none of the checkpoints in '%s' can be used; the log names the bad files",
                     output_dir);
}
