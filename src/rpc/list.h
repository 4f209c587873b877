/* A circular doubly linked list whose nodes live in the objects. A list head is a node too; zero it
 * with _init. */
#ifndef REID_RPC_LIST_H
#define REID_RPC_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct reid_rpc_node {
    struct reid_rpc_node *next, *previous;
} reid_rpc_node;

#define REID_RPC_OWNER(node, type, member) ((type *)((char *)(node)-offsetof(type, member)))

static inline void reid_rpc_list_init(reid_rpc_node *node)
{
    node->next = node->previous = node;
}

static inline bool reid_rpc_list_empty(const reid_rpc_node *head)
{
    return head->next == head;
}

static inline void reid_rpc_list_append(reid_rpc_node *head, reid_rpc_node *node)
{
    node->previous = head->previous;
    node->next = head;
    head->previous->next = node;
    head->previous = node;
}

/* Also for a node that is in no list (after _init). */
static inline void reid_rpc_list_remove(reid_rpc_node *node)
{
    node->previous->next = node->next;
    node->next->previous = node->previous;
    reid_rpc_list_init(node);
}

/* All nodes of `from`, in their order, to the empty list `to`. */
static inline void reid_rpc_list_move(reid_rpc_node *to, reid_rpc_node *from)
{
    if (reid_rpc_list_empty(from))
        return;
    *to = *from;
    to->next->previous = to;
    to->previous->next = to;
    reid_rpc_list_init(from);
}

#endif
