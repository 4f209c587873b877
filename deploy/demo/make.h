/* Makes the demo's data set: emoji become identities, their makers become cameras, in Market-1501's
 * layout. */
#ifndef REID_DEMO_MAKE_H
#define REID_DEMO_MAKE_H

#include "catalog.h"

typedef struct demo_options {
    demo_sources sources;
    const char *out;
    const char *origin; /* noted in the manifest: packages and versions */
    int identities;     /* 0: as many as there are */
    int images;         /* of an identity by a camera */
    uint64_t seed;
    const char *sheet; /* also a picture of the first identities, or NULL */
} demo_options;

/* Whether `out` holds what these options would make (its manifest says so). */
bool demo_is_complete(const demo_options *options);

/* Writes into a folder beside `out` and renames it when all is there. An older demo at `out` is
 * replaced; anything else there is an error. */
reid_status demo_make(const demo_options *options, reid_error *err);

#endif
