/* "loss*,lr" as a list of its parts. */
#ifndef REIDCTL_LIST_H
#define REIDCTL_LIST_H

#include "base/vec.h"

typedef struct reidctl_list {
    REID_VEC(char *) parts;
    char *text; /* that they are in */
} reidctl_list;

/* NULL is an empty list; empty parts are left out. Free with reidctl_list_fini. */
reidctl_list reidctl_list_split(const char *text);
void reidctl_list_fini(reidctl_list *list);

#endif
