#include "daemon/job/job.h"

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"

#define NAME_LIMIT 64

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_inner(char c)
{
    return is_word(c) || c == '.' || c == '_' || c == '-';
}

reid_status reidd_job_name_check(const char *name, reid_error *err)
{
    size_t length = strlen(name);
    if (length == 0 || length > NAME_LIMIT)
        return reid_fail(err, REID_ERR_INVALID, "a job's name has 1 to %d characters, not %zu",
                         NAME_LIMIT, length);
    if (!is_word(name[0]))
        return reid_fail(err, REID_ERR_INVALID, "a job's name must begin with a letter or a digit");
    for (size_t i = 0; i < length; i++)
        if (!is_inner(name[i]))
            return reid_fail(err, REID_ERR_INVALID,
                             "a job's name consists of letters, digits, '.', '_' and '-' only");
    return REID_OK;
}

char *reidd_job_name_from(const char *output_dir)
{
    REID_AUTOFREE char *path = reid_xstrdup(output_dir ? output_dir : "");
    size_t length = strlen(path);
    while (length > 0 && path[length - 1] == '/')
        path[--length] = '\0';
    const char *base = reid_path_base(path);
    while (*base && !is_word(*base))
        base++;
    char name[NAME_LIMIT + 1];
    size_t n = 0;
    for (; *base && n < NAME_LIMIT; base++)
        name[n++] = is_inner(*base) ? *base : '-';
    name[n] = '\0';
    return reid_xstrdup(n ? name : "job");
}

static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";

#define EPOCH_MS INT64_C(1735689600000) /* 2025-01-01T00:00:00Z */
#define ID_MASK ((INT64_C(1) << (5 * REIDD_ID_LENGTH)) - 1)

int64_t reidd_job_id_number(const char *id)
{
    int64_t number = 0;
    for (; *id; id++) {
        const char *digit = strchr(digits, *id);
        number = number << 5 | (digit ? digit - digits : 0);
    }
    return number;
}

void reidd_job_id_next(char ret_id[16], const char *last, int64_t now_ms)
{
    int64_t number = now_ms > EPOCH_MS ? (now_ms - EPOCH_MS) & ID_MASK : 0;
    if (strlen(last) == REIDD_ID_LENGTH) {
        int64_t before = reidd_job_id_number(last);
        if (number <= before)
            number = before + 1;
    }
    for (int i = REIDD_ID_LENGTH - 1; i >= 0; i--, number >>= 5)
        ret_id[i] = digits[number & 31];
    ret_id[REIDD_ID_LENGTH] = '\0';
}
