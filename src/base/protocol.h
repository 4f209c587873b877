/* The version of what reidd's programs say to each other: trainers, shims, daemons, clients.
 *
 * Messages grow by fields that older programs do not know and need not know; the number rises when
 * a program must know that the other side understands something. Each side tells the newest number
 * that it speaks (programs from before this number tell 0), and both use the smaller one; whoever
 * finds that too old for itself refuses with one sentence that says which side to upgrade.
 *
 * 1  programs whose hellos have no number
 * 2  numbers in hellos
 */
#ifndef REID_BASE_PROTOCOL_H
#define REID_BASE_PROTOCOL_H

#include "base/status.h"

#define REID_PROTOCOL 2        /* the newest */
#define REID_PROTOCOL_OLDEST 1 /* that is still spoken */

/* `peer` names the other side in the sentence ("rank 0 of job 0abc", "the reidd of node2"); `its`
 * is the number that it told. UNSUPPORTED when the two have none in common. */
reid_status reid_protocol_agree(const char *peer, int its, int *ret_agreed, reid_error *err);

/* The same for a program that speaks `oldest` to `newest`. */
reid_status reid_protocol_agree_within(const char *peer, int its, int oldest, int newest,
                                       int *ret_agreed, reid_error *err);

#endif
