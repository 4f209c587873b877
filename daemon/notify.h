/* Tells systemd (Type=notify) that the daemon is ready or ends; without systemd it does nothing. */
#ifndef REIDD_NOTIFY_H
#define REIDD_NOTIFY_H

/* Takes the socket's name out of the environment, so that jobs do not inherit it. Once, at the
 * start. The caller frees the name; NULL: nobody wants to know. */
char *reidd_notify_take(void);
/* `state` is "READY=1" or "STOPPING=1". */
void reidd_notify(const char *name, const char *state);

#endif
