/* Python literals, as fast-reid decodes values with ast.literal_eval. Private to this folder.
 *
 * Numbers, strings, True, False, None, tuples and lists of them. What is no literal stays text, as
 * in fast-reid. Beyond Python, `.inf` and `.nan` are floats (YAML's spelling), and inside brackets
 * a bare word such as Market1501 is text. Life: reid_literal_parse or _make → reading the fields →
 * reid_literal_fini.
 */
#ifndef REID_CONFIG_LITERAL_H
#define REID_CONFIG_LITERAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REID_LITERAL_MAX_LENGTH 4096 /* bytes of one value's text */
#define REID_LITERAL_MAX_ITEMS 1024  /* elements of one list */
#define REID_LITERAL_MAX_DEPTH 16    /* lists in lists */

typedef enum reid_literal_kind {
    REID_LITERAL_TEXT, /* no literal: the text as it stands */
    REID_LITERAL_NONE,
    REID_LITERAL_BOOL,
    REID_LITERAL_INT,
    REID_LITERAL_FLOAT,
    REID_LITERAL_STRING, /* a quoted string */
    REID_LITERAL_LIST,   /* a list or a tuple */
} reid_literal_kind;

typedef struct reid_literal {
    reid_literal_kind kind;
    char *text; /* STRING: its content; else the source text. Never NULL after parse or make */
    bool truth;
    int64_t integer;
    double number;
    struct reid_literal *items;
    size_t count;
} reid_literal;

/* Never fails: what cannot be read as a literal becomes TEXT. */
void reid_literal_parse(const char *text, reid_literal *ret_literal);

/* A number and nothing else; anything else becomes TEXT. */
void reid_literal_parse_number(const char *text, reid_literal *ret_literal);

/* A literal of `kind` with a copy of `text`; the other fields are zero. */
void reid_literal_make(reid_literal_kind kind, const char *text, reid_literal *ret_literal);

/* Appends to a LIST; false when it is full, and then the caller keeps the item. */
bool reid_literal_append(reid_literal *list, reid_literal *item);

void reid_literal_fini(reid_literal *literal);

#endif
