/* A hash table with linear probing. */
#include "daemon/index.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/manager_private.h"

static size_t home_of(const reidd_index *index, const char *id)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * 16777619u;
    return hash & (index->capacity - 1);
}

/* Where it is, or the empty slot where it would be. */
static size_t slot_of(const reidd_index *index, const char *id)
{
    size_t at = home_of(index, id);
    while (index->slots[at] && strcmp(index->slots[at]->job.id, id) != 0)
        at = (at + 1) & (index->capacity - 1);
    return at;
}

struct reidd_active *reidd_index_find(const reidd_index *index, const char *id)
{
    return index->capacity > 0 ? index->slots[slot_of(index, id)] : NULL;
}

static void grow(reidd_index *index)
{
    const reidd_index before = *index;
    index->capacity = before.capacity ? 2 * before.capacity : 64;
    index->slots = reid_xcalloc(index->capacity, sizeof(struct reidd_active *));
    for (size_t i = 0; i < before.capacity; i++)
        if (before.slots[i])
            index->slots[slot_of(index, before.slots[i]->job.id)] = before.slots[i];
    free((void *)before.slots);
}

void reidd_index_add(reidd_index *index, struct reidd_active *active)
{
    if (2 * (index->count + 1) > index->capacity)
        grow(index);
    index->slots[slot_of(index, active->job.id)] = active;
    index->count++;
}

void reidd_index_remove(reidd_index *index, const char *id)
{
    if (!reidd_index_find(index, id))
        return;
    size_t hole = slot_of(index, id), mask = index->capacity - 1;
    index->count--;
    /* Those behind it move up, unless that would put them before their home. */
    for (size_t at = (hole + 1) & mask; index->slots[at]; at = (at + 1) & mask) {
        size_t home = home_of(index, index->slots[at]->job.id);
        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        index->slots[hole] = index->slots[at];
        hole = at;
    }
    index->slots[hole] = NULL;
}

void reidd_index_fini(reidd_index *index)
{
    free((void *)index->slots);
    *index = (reidd_index){0};
}
