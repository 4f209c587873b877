/* The condition of a hook: comparisons joined by `and`, such as "total_loss > 5 and iter >= 100".
 *
 *     predicate  = comparison { "and" comparison }
 *     comparison = NAME ( ">" | ">=" | "<" | "<=" | "==" | "!=" ) NUMBER
 *
 * NAME is a metric (its newest value), or iter, epoch, lr of the moment. A metric that was not put
 * yet makes its comparison false, as does NaN but for "!=". NUMBER as in C, nan and inf included.
 */
#ifndef REID_ENGINE_GUEST_PREDICATE_H
#define REID_ENGINE_GUEST_PREDICATE_H

#include "engine/guest/guest.h"

typedef struct reid_predicate reid_predicate;

/* *ret_predicate is NULL for an empty text, which always holds. INVALID with what and where. */
reid_status reid_predicate_parse(const char *text, reid_predicate **ret_predicate, reid_error *err);
bool reid_predicate_holds(const reid_predicate *predicate, const reid_moment *moment);
void reid_predicate_free(reid_predicate *predicate); /* NULL is fine */

#endif
