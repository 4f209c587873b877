#include "daemon/sched/after.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"

reid_status reidd_after_parse(const char *word, char **ret_key, bool *ret_any, reid_error *err)
{
    const char *colon = strchr(word, ':');
    size_t length = colon ? (size_t)(colon - word) : strlen(word);
    bool any = colon && strcmp(colon, ":any") == 0;
    if (colon && !any && strcmp(colon, ":ok") != 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "'%s': a job starts after another has ended with 'ok' or in 'any' way, "
                         "as in JOB:ok or JOB:any",
                         word);
    if (length == 0)
        return reid_fail(err, REID_ERR_INVALID, "'%s' names no job", word);
    *ret_key = reid_xasprintf("%.*s", (int)length, word);
    *ret_any = any;
    return REID_OK;
}

bool reidd_after_names(const char *text, const char *id)
{
    size_t length = strlen(id);
    for (const char *word = text; word && *word;) {
        if (strcspn(word, ":,") == length && strncmp(word, id, length) == 0)
            return true;
        word = strchr(word, ',');
        word = word ? word + 1 : NULL;
    }
    return false;
}

static reidd_after_verdict judge(reidd_state state, bool any)
{
    if (state != 0 && !reidd_state_is_final(state))
        return REIDD_AFTER_WAIT;
    return any || state == 0 || state == REIDD_SUCCEEDED ? REIDD_AFTER_READY : REIDD_AFTER_NEVER;
}

reidd_after_verdict reidd_after_check(char **text,
                                      reidd_state (*state_of)(const char *id, void *user),
                                      void *user, char ret_id[16], reidd_state *ret_state)
{
    reidd_after_verdict verdict = REIDD_AFTER_READY;
    reid_str left = REID_STR_INIT;
    for (char *word = *text, *next; word && *word; word = next) {
        next = strchr(word, ',');
        size_t length = next ? (size_t)(next - word) : strlen(word);
        next = next ? next + 1 : NULL;
        char id[16] = "";
        const char *colon = memchr(word, ':', length);
        size_t size = colon ? (size_t)(colon - word) : length;
        snprintf(id, sizeof id, "%.*s", (int)size, word);
        reidd_state state = state_of(id, user);
        reidd_after_verdict one = judge(state, reid_str_starts(word + size, ":any"));
        if (one == REIDD_AFTER_READY)
            continue;
        reid_str_addf(&left, "%s%.*s", left.length > 0 ? "," : "", (int)length, word);
        if (one <= verdict)
            continue;
        verdict = one;
        snprintf(ret_id, sizeof id, "%s", id);
        *ret_state = state;
    }
    free(*text);
    *text = left.length > 0 ? reid_str_take(&left) : NULL;
    reid_str_fini(&left);
    return verdict;
}
