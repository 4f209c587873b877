#include "engine/guest/predicate.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/str.h"

#define COMPARISONS_MAX 16

typedef enum comparator { GREATER_EQUAL, LESS_EQUAL, EQUAL, NOT_EQUAL, GREATER, LESS } comparator;

/* Longer ones first. */
static const char *const SIGNS[] = {
    [GREATER_EQUAL] = ">=", [LESS_EQUAL] = "<=", [EQUAL] = "==",
    [NOT_EQUAL] = "!=",     [GREATER] = ">",     [LESS] = "<",
};

typedef struct comparison {
    char *name;
    comparator comparator;
    double number;
} comparison;

struct reid_predicate {
    size_t count;
    comparison items[COMPARISONS_MAX];
};

/* ---- reading ---- */

static reid_status wrong(const char *text, const char *at, const char *expected, reid_error *err)
{
    return reid_fail(err, REID_ERR_INVALID,
                     "the condition '%.200s' cannot be read at character %zu: %s is expected there",
                     text, (size_t)(at - text) + 1, expected);
}

static const char *skip_space(const char *at)
{
    while (isspace((unsigned char)*at))
        at++;
    return at;
}

static size_t word_length(const char *at)
{
    return strcspn(at, " \t\n\r\f\v<>=!");
}

static reid_status read_comparison(const char *text, const char **at, comparison *ret_comparison,
                                   reid_error *err)
{
    *at = skip_space(*at);
    size_t length = word_length(*at);
    if (length == 0 || isdigit((unsigned char)**at) || strchr("+-.", **at))
        return wrong(text, *at, "the name of a metric, iter, epoch or lr", err);
    ret_comparison->name = reid_xasprintf("%.*s", (int)length, *at);
    *at = skip_space(*at + length);
    size_t sign = 0;
    while (sign < REID_COUNT_OF(SIGNS) && !reid_str_starts(*at, SIGNS[sign]))
        sign++;
    if (sign == REID_COUNT_OF(SIGNS))
        return wrong(text, *at, "one of > >= < <= == !=", err);
    ret_comparison->comparator = (comparator)sign;
    *at = skip_space(*at + strlen(SIGNS[sign]));
    REID_AUTOFREE char *number = reid_xasprintf("%.*s", (int)word_length(*at), *at);
    if (reid_parse_double(number, &ret_comparison->number) != REID_OK)
        return wrong(text, *at, "a number", err);
    *at = skip_space(*at + strlen(number));
    return REID_OK;
}

static reid_status read_all(const char *text, reid_predicate *predicate, reid_error *err)
{
    const char *at = text;
    for (;;) {
        if (predicate->count == COMPARISONS_MAX)
            return reid_fail(err, REID_ERR_INVALID, "a condition has at most %d comparisons",
                             COMPARISONS_MAX);
        REID_TRY(read_comparison(text, &at, &predicate->items[predicate->count++], err));
        if (*at == '\0')
            return REID_OK;
        if (word_length(at) != 3 || !reid_str_starts(at, "and"))
            return wrong(text, at, "'and' or the end", err);
        at += 3;
    }
}

reid_status reid_predicate_parse(const char *text, reid_predicate **ret_predicate, reid_error *err)
{
    *ret_predicate = NULL;
    if (*skip_space(text) == '\0')
        return REID_OK;
    reid_predicate *predicate = reid_xcalloc(1, sizeof *predicate);
    reid_status status = read_all(text, predicate, err);
    if (status != REID_OK) {
        reid_predicate_free(predicate);
        return status;
    }
    *ret_predicate = predicate;
    return REID_OK;
}

/* ---- asking ---- */

static bool find_value(const char *name, const reid_moment *moment, double *ret_value)
{
    reid_event_scalar scalar;
    if (strcmp(name, "iter") == 0)
        *ret_value = (double)moment->iter;
    else if (strcmp(name, "epoch") == 0)
        *ret_value = (double)moment->epoch;
    else if (strcmp(name, "lr") == 0)
        *ret_value = moment->lr;
    else if (reid_event_storage_find(moment->storage, name, &scalar))
        *ret_value = scalar.value;
    else
        return false;
    return true;
}

static bool compare(double value, comparator how, double number)
{
    switch (how) {
    case GREATER_EQUAL:
        return value >= number;
    case LESS_EQUAL:
        return value <= number;
    case EQUAL:
        return value == number;
    case NOT_EQUAL:
        return value != number;
    case GREATER:
        return value > number;
    case LESS:
        return value < number;
    }
    return false;
}

bool reid_predicate_holds(const reid_predicate *predicate, const reid_moment *moment)
{
    for (size_t i = 0; predicate && i < predicate->count; i++) {
        const comparison *item = &predicate->items[i];
        double value = 0;
        if (!find_value(item->name, moment, &value) ||
            !compare(value, item->comparator, item->number))
            return false;
    }
    return true;
}

void reid_predicate_free(reid_predicate *predicate)
{
    for (size_t i = 0; predicate && i < predicate->count; i++)
        free(predicate->items[i].name);
    free(predicate);
}
