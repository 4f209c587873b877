#include "rpc/code.h"

#include <stddef.h>

#include "base/compiler.h"

/* Several statuses may share a code; the first row of a code is the way back. */
static const struct {
    reid_status status;
    int code;
} rows[] = {
    {REID_OK, 0},
    {REID_ERR_CANCELLED, 1},
    {REID_ERR_INVALID, 3},
    {REID_ERR_TIMEOUT, 4},
    {REID_ERR_NOT_FOUND, 5},
    {REID_ERR_EXISTS, 6},
    {REID_ERR_PERMISSION, 7},
    {REID_ERR_EXHAUSTED, 8},
    {REID_ERR_PRECONDITION, 9},
    {REID_ERR_UNSUPPORTED, 12},
    {REID_ERR_INTERNAL, 13},
    {REID_ERR_UNAVAILABLE, 14},
    {REID_ERR_CORRUPT, 15},
    /* only towards the wire */
    {REID_ERR_IO, 13},
    {REID_ERR_NONFINITE, 13},
    /* only from the wire */
    {REID_ERR_INTERNAL, 2},
    {REID_ERR_PRECONDITION, 10},
    {REID_ERR_INVALID, 11},
    {REID_ERR_PERMISSION, 16},
};

static const char *const names[] = {
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
};

int reid_rpc_code_from_status(reid_status status)
{
    for (size_t i = 0; i < REID_COUNT_OF(rows); i++)
        if (rows[i].status == status)
            return rows[i].code;
    return 2;
}

reid_status reid_rpc_status_from_code(int code)
{
    for (size_t i = 0; i < REID_COUNT_OF(rows); i++)
        if (rows[i].code == code)
            return rows[i].status;
    return REID_ERR_INTERNAL;
}

const char *reid_rpc_code_name(int code)
{
    if (code < 0 || (size_t)code >= REID_COUNT_OF(names))
        return "UNKNOWN";
    return names[code];
}
