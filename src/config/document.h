/* One YAML document as a flat list of keys. Private to this folder; the only place that knows
 * libyaml.
 *
 * Bounded: size, depth, number of keys and elements. Anchors, aliases, tags, several documents, a
 * key given twice and mappings inside lists are errors with their line.
 */
#ifndef REID_CONFIG_DOCUMENT_H
#define REID_CONFIG_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "config/literal.h"

#define REID_DOCUMENT_MAX_BYTES ((size_t)1 << 20)
#define REID_DOCUMENT_MAX_DEPTH 16
#define REID_DOCUMENT_MAX_KEYS 4096

typedef struct reid_document_entry {
    char *key; /* with the sections: "SOLVER.AMP.ENABLED" */
    size_t line;
    bool section; /* a mapping; `value` is unused */
    reid_literal value;
} reid_document_entry;

typedef struct reid_document {
    reid_document_entry *items; /* in the order of the text; a section comes before its keys */
    size_t count, capacity;
} reid_document;

/* `name` stands for the file in messages. */
reid_status reid_document_parse(const char *text, size_t size, const char *name,
                                reid_document *ret_document, reid_error *err);
void reid_document_fini(reid_document *document);

#endif
