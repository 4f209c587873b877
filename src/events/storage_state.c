/* The saved form of an EventStorage. All numbers little-endian; doubles as their bits:
 *
 *   "RSEVENTS" u32 version  i64 iter  i64 epoch  u64 sequence  u32 names
 *   per name: u16 length, bytes  u8 hint  f64 value  i64 iter  u64 sequence
 *             f64 global average  i64 samples ever added  u64 samples here, each f64 value, i64
 * iter u32 crc32c of all before it
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "events/storage_impl.h"

#define MAGIC "RSEVENTS"
#define MAGIC_BYTES 8
#define VERSION 1
#define SAMPLE_BYTES 16

/* ---- writing ---- */

static void put_uint(reid_str *out, uint64_t value, int bytes)
{
    char data[8];
    for (int i = 0; i < bytes; i++)
        data[i] = (char)(value >> (8 * i));
    reid_str_add_bytes(out, data, (size_t)bytes);
}

static void put_double(reid_str *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_uint(out, bits, 8);
}

static void put_entry(reid_str *out, const reid_event_entry *entry)
{
    size_t length = strlen(entry->name);
    put_uint(out, length, 2);
    reid_str_add_bytes(out, entry->name, length);
    put_uint(out, entry->smoothing_hint, 1);
    put_double(out, entry->value);
    put_uint(out, (uint64_t)entry->iter, 8);
    put_uint(out, entry->sequence, 8);
    const reid_history *history = &entry->history;
    put_double(out, history->global_avg);
    put_uint(out, (uint64_t)history->total, 8);
    put_uint(out, history->count, 8);
    for (size_t i = 0; i < history->count; i++) {
        reid_history_sample sample = reid_history_at(history, i);
        put_double(out, sample.value);
        put_uint(out, (uint64_t)sample.iter, 8);
    }
}

void reid_event_storage_save(const reid_event_storage *storage, reid_str *out)
{
    size_t start = out->length;
    reid_str_add_bytes(out, MAGIC, MAGIC_BYTES);
    put_uint(out, VERSION, 4);
    put_uint(out, (uint64_t)storage->iter, 8);
    put_uint(out, (uint64_t)storage->epoch, 8);
    put_uint(out, storage->sequence, 8);
    put_uint(out, storage->entries.count, 4);
    for (size_t i = 0; i < storage->entries.count; i++)
        put_entry(out, storage->entries.items[i]);
    put_uint(out, reid_crc32c(out->data + start, out->length - start), 4);
}

/* ---- reading ---- */

typedef struct reader {
    const unsigned char *data;
    size_t left;
    bool failed; /* ran over the end */
} reader;

static uint64_t get_uint(reader *in, size_t bytes)
{
    if (in->left < bytes) {
        in->failed = true;
        return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)in->data[i] << (8 * i);
    in->data += bytes;
    in->left -= bytes;
    return value;
}

static double get_double(reader *in)
{
    uint64_t bits = get_uint(in, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static reid_status corrupt(reid_error *err, const char *what)
{
    return reid_fail(err, REID_ERR_CORRUPT, "the saved metrics are damaged: %s", what);
}

/* The ring gets exactly the room it needs; the first sample added later makes it grow. */
static reid_status get_samples(reader *in, reid_history *history, reid_error *err)
{
    history->global_avg = get_double(in);
    history->total = (int64_t)get_uint(in, 8);
    uint64_t count = get_uint(in, 8);
    if (in->failed || count > in->left / SAMPLE_BYTES)
        return corrupt(err, "a history ends too early");
    if (count == 0 || count > REID_HISTORY_MAX || history->total < (int64_t)count)
        return corrupt(err, "a history has an impossible length");
    history->samples = reid_alloc((size_t)count, sizeof *history->samples);
    if (!history->samples)
        return reid_fail(err, REID_ERR_EXHAUSTED, "out of memory for the saved metrics");
    history->capacity = history->count = (size_t)count;
    for (size_t i = 0; i < count; i++) {
        history->samples[i].value = get_double(in);
        history->samples[i].iter = (int64_t)get_uint(in, 8);
    }
    return REID_OK;
}

static reid_status get_entry(reader *in, reid_event_storage *storage, reid_error *err)
{
    size_t length = (size_t)get_uint(in, 2);
    if (in->failed || length > REID_EVENT_NAME_BYTES_MAX || length > in->left)
        return corrupt(err, "a name is too long");
    char name[REID_EVENT_NAME_BYTES_MAX + 1];
    memcpy(name, in->data, length);
    name[length] = '\0';
    in->data += length;
    in->left -= length;
    reid_event_scalar existing;
    if (strlen(name) != length || reid_event_name_check(name, NULL) != REID_OK ||
        reid_event_storage_find(storage, name, &existing))
        return corrupt(err, "a name is not valid or there twice");
    uint64_t hint = get_uint(in, 1);
    reid_event_entry *entry = reid_event_storage_add_entry(storage, name, hint == 1);
    entry->value = get_double(in);
    entry->iter = (int64_t)get_uint(in, 8);
    entry->sequence = get_uint(in, 8);
    if (in->failed || hint > 1 || entry->sequence > storage->sequence)
        return corrupt(err, "a scalar has impossible values");
    return get_samples(in, &entry->history, err);
}

static reid_status get_all(reader *in, reid_event_storage *storage, reid_error *err)
{
    storage->iter = (int64_t)get_uint(in, 8);
    storage->epoch = (int64_t)get_uint(in, 8);
    storage->sequence = get_uint(in, 8);
    uint64_t names = get_uint(in, 4);
    if (in->failed || names > REID_EVENT_NAMES_MAX)
        return corrupt(err, "the header is not valid");
    for (uint64_t i = 0; i < names; i++)
        REID_TRY(get_entry(in, storage, err));
    return in->left == 0 ? REID_OK : corrupt(err, "there are bytes after the end");
}

static reid_status open_frame(reader *in, reid_error *err)
{
    if (in->left < MAGIC_BYTES + 8 || memcmp(in->data, MAGIC, MAGIC_BYTES) != 0)
        return corrupt(err, "they do not begin as such a file does");
    reader trailer = {.data = in->data + in->left - 4, .left = 4};
    if (reid_crc32c(in->data, in->left - 4) != (uint32_t)get_uint(&trailer, 4))
        return corrupt(err, "the checksum does not match");
    in->left -= 4;
    get_uint(in, MAGIC_BYTES);
    uint64_t version = get_uint(in, 4);
    if (version != VERSION)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "the saved metrics have format version %u, this program reads %d",
                         (unsigned)version, VERSION);
    return REID_OK;
}

reid_status reid_event_storage_load(reid_event_storage *storage, const void *data, size_t size,
                                    reid_error *err)
{
    reader in = {.data = data, .left = size};
    REID_TRY(open_frame(&in, err));
    reid_event_storage *fresh = reid_event_storage_new(0);
    reid_status status = get_all(&in, fresh, err);
    if (status == REID_OK) {
        reid_event_storage_flush_row(storage);
        reid_event_storage_swap_content(storage, fresh);
    }
    reid_event_storage_free(fresh);
    return status;
}
