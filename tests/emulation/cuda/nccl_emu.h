/* A communicator and what its ranks share. */
#ifndef EMU_NCCL_H
#define EMU_NCCL_H

#include "emu.h"

#include <nccl.h>
#include <stdatomic.h>

enum { EMU_NCCL_RANKS = 32, EMU_NCCL_CHUNK = 1 << 18 };
enum { EMU_ALLREDUCE, EMU_BROADCAST, EMU_REDUCE, EMU_ALLGATHER, EMU_REDUCESCATTER };

/* What a rank says that it calls; those of all ranks must be equal. */
typedef struct emu_nccl_call {
    uint64_t chunk, count;
    int kind, type, reduction, root;
} emu_nccl_call;

/* Data goes in chunks. A rank posts chunk i when all have consumed chunk i-1. */
typedef struct emu_nccl_rank {
    _Atomic uint64_t posted, consumed; /* chunks */
    _Atomic int joined;
    emu_nccl_call call;
    _Alignas(16) char data[EMU_NCCL_CHUNK];
} emu_nccl_rank;

typedef struct emu_nccl_shared {
    _Atomic int size;
    emu_nccl_rank rank[EMU_NCCL_RANKS];
} emu_nccl_shared;

struct ncclComm {
    emu_nccl_shared *shared;
    int rank, size, device;
    uint64_t chunk;
    uint64_t queued, run; /* collectives */
    _Atomic int aborted, revoked, error;
    char name[64];
    double since; /* when the wait for the others began */
    bool told, blocking, finalized, destroyed;
};

/* Places in emu_op.arg. */
enum {
    EMU_NCCL_COMM,
    EMU_NCCL_SEND,
    EMU_NCCL_RECEIVE,
    EMU_NCCL_COUNT,
    EMU_NCCL_TYPE,
    EMU_NCCL_REDUCTION,
    EMU_NCCL_ROOT,
    EMU_NCCL_KIND,
    EMU_NCCL_TICKET,
    EMU_NCCL_DONE,  /* elements */
    EMU_NCCL_POSTED /* the present chunk? */
};

bool emu_nccl_run(emu_op *op);
size_t emu_nccl_type_bytes(int type); /* 0: not supported */
const char *emu_nccl_name(int kind);
double emu_nccl_now(void);
void emu_nccl_missing(ncclComm_t c, const char *what);

#endif
