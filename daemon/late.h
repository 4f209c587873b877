/* Metric rows that come late: rank 0 was on a node that was given up, its attempt is over, and now
 * the node is back with the rank's whole spool. What the store does not have of them is stored as
 * rows of that attempt, in their order; the rows of later attempts are behind them, as always, even
 * where both have the same iterations. Then the node may forget its part.
 *
 * Loop thread only.
 */
#ifndef REIDD_LATE_H
#define REIDD_LATE_H

#include "daemon/manager.h"

typedef struct reidd_late reidd_late;

reidd_late *reidd_late_new(reidd_manager *manager);
/* Its memory goes when the loop has run. NULL is accepted. */
void reidd_late_close(reidd_late *late);
/* All files of the attempt's ranks on `node` are here. */
void reidd_late_add(reidd_late *late, const char *node, const char *job_id, int attempt);

#endif
