/* Last words of a program that crashes: the signal, the address and the calls that led there, to
 * stderr, for `addr2line -fipe PROGRAM OFFSET`. The signal then ends the program as it would have
 * without them. For programs that run where nobody takes their core file.
 */
#ifndef REID_BASE_CRASH_H
#define REID_BASE_CRASH_H

/* For SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT; a signal that has a handler keeps it. Call it
 * once, early, on the main thread. */
void reid_crash_report(const char *program);

#endif
