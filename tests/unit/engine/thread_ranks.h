/* Ranks as threads of one process, with a communicator that copies: for tests of what ranks agree
 * on. */
#ifndef ENGINE_TEST_THREAD_RANKS_H
#define ENGINE_TEST_THREAD_RANKS_H

#include "comm/comm.h"

/* Runs body(comm, user) on `size` threads, each with its own communicator, and joins them. */
void test_run_ranks(int size, void (*body)(reid_comm *comm, void *user), void *user);

#endif
