/* What an implementation of reid_comm provides. All slots must exist unless said otherwise. Calls
 * come with size > 1 or for a world of one alike. */
#ifndef REID_COMM_COMM_IMPL_H
#define REID_COMM_COMM_IMPL_H

#include "comm/comm.h"

typedef enum reid_comm_kind {
    REID_COMM_START, /* of the library itself */
    REID_COMM_BARRIER,
    REID_COMM_BROADCAST,
    REID_COMM_ALLREDUCE,
    REID_COMM_ALLGATHER,
    REID_COMM_GATHER,
    REID_COMM_KINDS
} reid_comm_kind;

/* "all-reduce" */
const char *reid_comm_kind_name(int kind);

/* Fills the common fields. */
void reid_comm_setup(reid_comm *comm, const struct reid_comm_impl *impl,
                     const reid_comm_options *options);

/* "rank 3", "ranks 1, 2 and 5", cut with "and 17 more" when long; `named` has size places. */
void reid_comm_list_ranks(char *buffer, size_t capacity, const bool *named, int size);

typedef struct reid_comm_impl {
    const char *name;
    /* Queues `work`, whose private fields are filled; does not block. */
    void (*submit)(reid_comm *comm, reid_comm_work *work);
    /* Blocks until it is done or past its deadline; then work->status and work->err tell how it
     * ended. */
    void (*wait)(reid_comm *comm, reid_comm_work *work);
    const char *(*library)(const reid_comm *comm);
    void (*abort)(reid_comm *comm, int code); /* does not return */
    void (*free)(reid_comm *comm);            /* comm->call and the flight recorder too */
    /* Devices only, else NULL: see reid_comm_check and reid_comm_work_times. */
    reid_status (*check)(reid_comm *comm, reid_error *err);
    bool (*times)(reid_comm *comm, reid_comm_work *work);
} reid_comm_impl;

#endif
