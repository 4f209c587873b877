/* TensorBoard event files: TFRecords of tensorflow.Event messages, encoded by hand.
 *
 *   record  = u64 length LE · u32 masked crc32c(length) · data · u32 masked crc32c(data)
 *             (tensorflow/core/lib/io/record_writer.h), masked = rotate_right(crc, 15) + 0xa282ead8
 *   Event   = wall_time 1: double · step 2: int64 · file_version 3: string · summary 5: Summary
 *   Summary = value 1: repeated Value;  Value = tag 1: string · simple_value 2: float
 *             (tensorflow/core/util/event.proto, framework/summary.proto)
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "events/async_file.h"
#include "events/fresh.h"
#include "events/writer.h"

#define FILE_VERSION "brain.Event:2"
#define CRC_MASK 0xa282ead8u
#define NAME_TRIES 1000

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

typedef struct tensorboard_writer {
    reid_event_writer base;
    reid_async_file *file; /* NULL once closed */
    reid_fresh_list fresh; /* kept from write to write, as the texts: a step allocates nothing */
    reid_str text, event, summary, value;
} tensorboard_writer;

/* ---- protobuf's wire format ---- */

static void add_fixed(reid_str *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        reid_str_add_char(out, (char)(value >> (8 * i)));
}

static void add_varint(reid_str *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        reid_str_add_char(out, (char)(value | 0x80));
    reid_str_add_char(out, (char)value);
}

static void add_tag(reid_str *out, unsigned field, unsigned wire)
{
    add_varint(out, field << 3 | wire);
}

static void add_bytes(reid_str *out, unsigned field, const void *data, size_t size)
{
    add_tag(out, field, WIRE_BYTES);
    add_varint(out, size);
    reid_str_add_bytes(out, data, size);
}

static void add_double(reid_str *out, unsigned field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    add_tag(out, field, WIRE_FIXED64);
    add_fixed(out, bits, 8);
}

static void add_float(reid_str *out, unsigned field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    add_tag(out, field, WIRE_FIXED32);
    add_fixed(out, bits, 4);
}

/* ---- events ---- */

static uint32_t masked_crc(const void *data, size_t size)
{
    uint32_t crc = reid_crc32c(data, size);
    return (crc >> 15 | crc << 17) + CRC_MASK;
}

static void add_record(reid_str *out, const reid_str *event)
{
    size_t start = out->length;
    add_fixed(out, event->length, 8);
    add_fixed(out, masked_crc(out->data + start, 8), 4);
    reid_str_add_bytes(out, event->data, event->length);
    add_fixed(out, masked_crc(event->data, event->length), 4);
}

static void add_value(tensorboard_writer *board, const char *tag, double value)
{
    reid_str *message = &board->value;
    reid_str_clear(message);
    add_bytes(message, 1, tag, strlen(tag));
    add_float(message, 2, (float)value);
    add_bytes(&board->summary, 1, message->data, message->length);
}

/* One event for the scalars of one iteration. */
static size_t add_scalars(tensorboard_writer *board, const reid_fresh_scalar *scalars, size_t count)
{
    int64_t iter = scalars[0].iter;
    reid_str *event = &board->event;
    reid_str_clear(&board->summary);
    size_t used = 0;
    for (; used < count && scalars[used].iter == iter; used++)
        add_value(board, scalars[used].name, scalars[used].value);
    reid_str_clear(event);
    add_double(event, 1, (double)reid_clock_wall_ms() * 1e-3);
    add_tag(event, 2, WIRE_VARINT);
    add_varint(event, (uint64_t)iter);
    add_bytes(event, 5, board->summary.data, board->summary.length);
    add_record(&board->text, event);
    return used;
}

static void add_file_version(reid_str *out)
{
    reid_str event = REID_STR_INIT;
    add_double(&event, 1, (double)reid_clock_wall_ms() * 1e-3);
    add_bytes(&event, 3, FILE_VERSION, strlen(FILE_VERSION));
    add_record(out, &event);
    reid_str_fini(&event);
}

/* ---- the writer ---- */

static reid_status tensorboard_write(reid_event_writer *writer, reid_event_storage *storage,
                                     reid_error *err)
{
    tensorboard_writer *board = (tensorboard_writer *)writer;
    reid_fresh_list *fresh = &board->fresh;
    reid_event_storage_fresh(storage, writer->written, REID_EVENT_WINDOW, fresh);
    reid_str_clear(&board->text);
    for (size_t used = 0; used < fresh->count;)
        used += add_scalars(board, fresh->items + used, fresh->count - used);
    reid_status status =
        reid_async_file_write(board->file, board->text.data, board->text.length, err);
    if (status == REID_OK)
        writer->written = reid_event_storage_sequence(storage);
    return status;
}

static reid_status tensorboard_flush(reid_event_writer *writer, reid_error *err)
{
    return reid_async_file_flush(((tensorboard_writer *)writer)->file, err);
}

static reid_status tensorboard_close(reid_event_writer *writer, reid_error *err)
{
    tensorboard_writer *board = (tensorboard_writer *)writer;
    reid_async_file *file = board->file;
    board->file = NULL;
    return reid_async_file_close(file, err);
}

static void tensorboard_free(reid_event_writer *writer)
{
    tensorboard_writer *board = (tensorboard_writer *)writer;
    if (board->file)
        reid_async_file_close(board->file, NULL);
    reid_vec_fini(&board->fresh);
    reid_str_fini(&board->text);
    reid_str_fini(&board->event);
    reid_str_fini(&board->summary);
    reid_str_fini(&board->value);
    free(board);
}

static const reid_event_writer_impl TENSORBOARD = {
    .name = "tensorboard",
    .write = tensorboard_write,
    .flush = tensorboard_flush,
    .close = tensorboard_close,
    .free = tensorboard_free,
};

/* A name of its own for each run: TensorBoard joins all files of a folder. */
static char *new_path(const char *folder)
{
    char host[256];
    if (gethostname(host, sizeof host) != 0)
        host[0] = '\0';
    host[sizeof host - 1] = '\0';
    long long second = (long long)(reid_clock_wall_ms() / 1000);
    for (int i = 0;; i++) {
        REID_AUTOFREE char *name = reid_xasprintf("events.out.tfevents.%010lld.%s.%ld.%d", second,
                                                  host[0] ? host : "localhost", (long)getpid(), i);
        char *path = reid_path_join(folder, name);
        if (i == NAME_TRIES || !reid_path_exists(path))
            return path;
        free(path);
    }
}

reid_status reid_tensorboard_writer_open(const char *folder, reid_event_writer **ret_writer,
                                         reid_error *err)
{
    REID_AUTOFREE char *path = new_path(folder);
    reid_async_file *file;
    REID_TRY(reid_async_file_open(path, false, &file, err));
    reid_str text = REID_STR_INIT;
    add_file_version(&text);
    reid_status status = reid_async_file_write(file, text.data, text.length, err);
    reid_str_fini(&text);
    if (status != REID_OK) {
        reid_async_file_close(file, NULL);
        return status;
    }
    tensorboard_writer *board = reid_xcalloc(1, sizeof *board);
    board->base.impl = &TENSORBOARD;
    board->file = file;
    reid_str_reserve(&board->text, REID_EVENT_TEXT_BYTES);
    reid_str_reserve(&board->event, REID_EVENT_TEXT_BYTES);
    reid_str_reserve(&board->summary, REID_EVENT_TEXT_BYTES);
    reid_str_reserve(&board->value, REID_EVENT_NAME_BYTES_MAX * 2);
    *ret_writer = &board->base;
    return REID_OK;
}
