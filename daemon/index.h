/* Finds a job by its id at once, however many there are. Loop thread only. */
#ifndef REIDD_INDEX_H
#define REIDD_INDEX_H

#include <stddef.h>

struct reidd_active;

typedef struct reidd_index {
    struct reidd_active **slots; /* NULL: empty */
    size_t capacity;             /* a power of two */
    size_t count;
} reidd_index;

struct reidd_active *reidd_index_find(const reidd_index *index, const char *id);
/* The id must not be in it, and must not change while it is. */
void reidd_index_add(reidd_index *index, struct reidd_active *active);
void reidd_index_remove(reidd_index *index, const char *id); /* not there: nothing happens */
void reidd_index_fini(reidd_index *index);

#endif
