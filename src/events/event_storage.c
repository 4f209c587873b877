#include "events/event_storage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "base/vec.h"
#include "events/storage_impl.h"
#include "events/text.h"

reid_event_storage *reid_event_storage_new(int64_t start_iter)
{
    reid_event_storage *storage = reid_xcalloc(1, sizeof *storage);
    storage->iter = start_iter;
    return storage;
}

static void free_entries(reid_event_storage *storage)
{
    for (size_t i = 0; i < storage->entries.count; i++) {
        free(storage->entries.items[i]->name);
        reid_history_fini(&storage->entries.items[i]->history);
        free(storage->entries.items[i]);
    }
    reid_vec_fini(&storage->entries);
    free(storage->index);
}

void reid_event_storage_free(reid_event_storage *storage)
{
    if (!storage)
        return;
    free_entries(storage);
    for (size_t i = 0; i < storage->scope_count; i++)
        free(storage->scopes[i]);
    reid_vec_fini(&storage->row);
    reid_vec_fini(&storage->listeners);
    free(storage);
}

#define SWAP(a, b)                                                                                 \
    do {                                                                                           \
        __typeof__(a) swap_kept = (a);                                                             \
        (a) = (b);                                                                                 \
        (b) = swap_kept;                                                                           \
    } while (0)

void reid_event_storage_swap_content(reid_event_storage *a, reid_event_storage *b)
{
    SWAP(a->iter, b->iter);
    SWAP(a->epoch, b->epoch);
    SWAP(a->sequence, b->sequence);
    SWAP(a->entries, b->entries);
    SWAP(a->index, b->index);
    SWAP(a->index_size, b->index_size);
}

void reid_event_storage_set_iter(reid_event_storage *storage, int64_t iter)
{
    if (iter != storage->iter)
        reid_event_storage_flush_row(storage);
    storage->iter = iter;
}

int64_t reid_event_storage_iter(const reid_event_storage *storage)
{
    return storage->iter;
}

void reid_event_storage_set_epoch(reid_event_storage *storage, int64_t epoch)
{
    if (epoch != storage->epoch)
        reid_event_storage_flush_row(storage);
    storage->epoch = epoch;
}

int64_t reid_event_storage_epoch(const reid_event_storage *storage)
{
    return storage->epoch;
}

/* ---- names ---- */

/* FNV-1a; the table is small and its keys are the program's own. */
static size_t hash_name(const char *name)
{
    uint64_t hash = 14695981039346656037u;
    for (const unsigned char *p = (const unsigned char *)name; *p; p++)
        hash = (hash ^ *p) * 1099511628211u;
    return (size_t)(hash ^ hash >> 32);
}

/* Open addressing, at most half full: the place of `name`, or the free one where it belongs. */
static size_t find_place(const reid_event_storage *storage, const char *name)
{
    size_t mask = storage->index_size - 1;
    size_t place = hash_name(name) & mask;
    while (storage->index[place] &&
           strcmp(storage->entries.items[storage->index[place] - 1]->name, name) != 0)
        place = (place + 1) & mask;
    return place;
}

static reid_event_entry *find_entry(const reid_event_storage *storage, const char *name)
{
    if (storage->index_size == 0)
        return NULL;
    uint32_t found = storage->index[find_place(storage, name)];
    return found ? storage->entries.items[found - 1] : NULL;
}

static void grow_index(reid_event_storage *storage)
{
    storage->index_size = storage->index_size ? storage->index_size * 2 : 64;
    free(storage->index);
    storage->index = reid_xcalloc(storage->index_size, sizeof *storage->index);
    for (size_t i = 0; i < storage->entries.count; i++)
        storage->index[find_place(storage, storage->entries.items[i]->name)] = (uint32_t)i + 1;
}

reid_event_entry *reid_event_storage_add_entry(reid_event_storage *storage, const char *name,
                                               bool smoothing_hint)
{
    reid_event_entry *entry = reid_xcalloc(1, sizeof *entry);
    entry->name = reid_xstrdup(name);
    entry->smoothing_hint = smoothing_hint;
    if (storage->index_size < 2 * (storage->entries.count + 1))
        grow_index(storage);
    size_t place = find_place(storage, name);
    REID_ASSERT(storage->index[place] == 0);
    reid_vec_push(&storage->entries, entry);
    storage->index[place] = (uint32_t)storage->entries.count;
    return entry;
}

reid_status reid_event_name_check(const char *name, reid_error *err)
{
    size_t length = strnlen(name, REID_EVENT_NAME_BYTES_MAX + 1);
    if (length == 0)
        return reid_fail(err, REID_ERR_INVALID, "a scalar must have a name");
    if (length > REID_EVENT_NAME_BYTES_MAX)
        return reid_fail(err, REID_ERR_INVALID, "the scalar name '%.40s…' is longer than %d bytes",
                         name, REID_EVENT_NAME_BYTES_MAX);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < 0x20 || c == 0x7F)
            return reid_fail(err, REID_ERR_INVALID,
                             "a scalar name has the control character 0x%02x in it", c);
    }
    if (!reid_utf8_is_valid(name))
        return reid_fail(err, REID_ERR_INVALID, "a scalar name is not valid UTF-8");
    return REID_OK;
}

static reid_status entry_for_put(reid_event_storage *storage, const char *name, bool smoothing_hint,
                                 reid_event_entry **ret_entry, reid_error *err)
{
    reid_event_entry *entry = find_entry(storage, name);
    if (!entry) {
        REID_TRY(reid_event_name_check(name, err));
        if (storage->entries.count == REID_EVENT_NAMES_MAX)
            return reid_fail(err, REID_ERR_EXHAUSTED,
                             "the scalar '%s' would be one more than the %d names allowed", name,
                             REID_EVENT_NAMES_MAX);
        entry = reid_event_storage_add_entry(storage, name, smoothing_hint);
    } else if (entry->smoothing_hint != smoothing_hint) {
        return reid_fail(err, REID_ERR_INVALID,
                         "the scalar '%s' was put with a different smoothing hint before", name);
    }
    *ret_entry = entry;
    return REID_OK;
}

static void add_to_row(reid_event_storage *storage, const reid_event_entry *entry)
{
    if (storage->listeners.count == 0)
        return;
    for (size_t i = 0; i < storage->row.count; i++) {
        if (storage->row.items[i].name == entry->name) {
            storage->row.items[i].value = entry->value;
            return;
        }
    }
    reid_event_row_scalar scalar = {.name = entry->name, .value = entry->value};
    reid_vec_push(&storage->row, scalar);
}

reid_status reid_event_storage_put_scalar(reid_event_storage *storage, const char *name,
                                          double value, bool smoothing_hint, reid_error *err)
{
    char scoped[REID_EVENT_NAME_BYTES_MAX * 2];
    if (storage->scope_count > 0 && name[0]) {
        snprintf(scoped, sizeof scoped, "%s%s", storage->scopes[storage->scope_count - 1], name);
        name = scoped;
    }
    reid_event_entry *entry = NULL;
    REID_TRY(entry_for_put(storage, name, smoothing_hint, &entry, err));
    REID_TRY(reid_history_add(&entry->history, value, storage->iter, err));
    entry->value = value;
    entry->iter = storage->iter;
    entry->sequence = ++storage->sequence;
    add_to_row(storage, entry);
    return REID_OK;
}

void reid_event_storage_push_scope(reid_event_storage *storage, const char *scope)
{
    REID_ASSERT(storage->scope_count < REID_EVENT_SCOPES_MAX);
    size_t length = strlen(scope);
    while (length > 0 && scope[length - 1] == '/')
        length--;
    REID_ASSERT(length < REID_EVENT_NAME_BYTES_MAX);
    storage->scopes[storage->scope_count++] = reid_xasprintf("%.*s/", (int)length, scope);
}

void reid_event_storage_pop_scope(reid_event_storage *storage)
{
    REID_ASSERT(storage->scope_count > 0);
    free(storage->scopes[--storage->scope_count]);
}

/* ---- reading ---- */

static reid_event_scalar scalar_of(const reid_event_entry *entry)
{
    return (reid_event_scalar){
        .name = entry->name,
        .value = entry->value,
        .iter = entry->iter,
        .smoothing_hint = entry->smoothing_hint,
        .sequence = entry->sequence,
        .history = &entry->history,
    };
}

size_t reid_event_storage_count(const reid_event_storage *storage)
{
    return storage->entries.count;
}

reid_event_scalar reid_event_storage_at(const reid_event_storage *storage, size_t index)
{
    REID_ASSERT(index < storage->entries.count);
    return scalar_of(storage->entries.items[index]);
}

bool reid_event_storage_find(const reid_event_storage *storage, const char *name,
                             reid_event_scalar *ret_scalar)
{
    const reid_event_entry *entry = find_entry(storage, name);
    if (!entry)
        return false;
    *ret_scalar = scalar_of(entry);
    return true;
}

const reid_history *reid_event_storage_history(const reid_event_storage *storage, const char *name)
{
    const reid_event_entry *entry = find_entry(storage, name);
    return entry ? &entry->history : NULL;
}

double reid_event_scalar_smoothed(const reid_event_scalar *scalar, size_t window)
{
    return scalar->smoothing_hint ? reid_history_median(scalar->history, window) : scalar->value;
}

uint64_t reid_event_storage_sequence(const reid_event_storage *storage)
{
    return storage->sequence;
}

/* ---- rows ---- */

void reid_event_storage_on_row(reid_event_storage *storage, reid_event_row_fn *fn, void *user)
{
    reid_event_listener listener = {.fn = fn, .user = user};
    reid_vec_push(&storage->listeners, listener);
}

void reid_event_storage_flush_row(reid_event_storage *storage)
{
    if (storage->row.count == 0)
        return;
    reid_event_row row = {
        .iter = storage->iter,
        .epoch = storage->epoch,
        .count = storage->row.count,
        .scalars = storage->row.items,
    };
    for (size_t i = 0; i < storage->listeners.count; i++)
        storage->listeners.items[i].fn(storage->listeners.items[i].user, &row);
    storage->row.count = 0;
}
