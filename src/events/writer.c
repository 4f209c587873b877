#include "events/writer.h"

#include "base/log.h"

/* The first failure of a writer that is not strict is the last thing heard of it. */
static reid_status settle(reid_event_writer *writer, reid_status status, reid_error *local,
                          reid_error *err)
{
    if (status == REID_OK)
        return REID_OK;
    writer->disabled = true;
    if (writer->strict)
        return reid_fail(err, status, "%s", local->text);
    reid_log_warn("%s; the %s writer is switched off, the training goes on", local->text,
                  writer->impl->name);
    return REID_OK;
}

reid_status reid_event_writer_write(reid_event_writer *writer, reid_event_storage *storage,
                                    reid_error *err)
{
    if (writer->disabled)
        return REID_OK;
    reid_error local = {0};
    return settle(writer, writer->impl->write(writer, storage, &local), &local, err);
}

reid_status reid_event_writer_flush(reid_event_writer *writer, reid_error *err)
{
    if (writer->disabled || !writer->impl->flush)
        return REID_OK;
    reid_error local = {0};
    return settle(writer, writer->impl->flush(writer, &local), &local, err);
}

reid_status reid_event_writer_close(reid_event_writer *writer, reid_error *err)
{
    if (writer->disabled)
        return REID_OK;
    reid_error local = {0};
    reid_status status = REID_OK;
    if (writer->impl->close)
        status = settle(writer, writer->impl->close(writer, &local), &local, err);
    writer->disabled = true;
    return status;
}

void reid_event_writer_free(reid_event_writer *writer)
{
    if (writer)
        writer->impl->free(writer);
}
