/* What the control tells the host of a resumed run's journal. */
#ifndef REID_ENGINE_GUEST_HOST_PRIVATE_H
#define REID_ENGINE_GUEST_HOST_PRIVATE_H

#include "base/journal.h"
#include "engine/guest/host.h"

/* The line adds a hook that is a client of the former run. */
bool reid_guest_host_must_return(const reid_journal_entry *entry);
/* Rank 0, before a resumed training: every line of the journal in turn. */
void reid_guest_host_knows_wish(reid_guest_host *host, const reid_journal_entry *entry);

#endif
