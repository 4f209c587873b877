/* An entry of a job's journal as a line of JSON. */
#ifndef REIDCTL_OUT_ENTRY_H
#define REIDCTL_OUT_ENTRY_H

#include "reid/v1/control.pb-c.h"

/* To standard output. */
void reidctl_print_entry_json(const Reid__V1__JournalEntry *entry);

#endif
