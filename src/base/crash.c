#include "base/crash.h"

#include <execinfo.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"

enum { FRAMES = 64, STACK_BYTES = 64 << 10 };

static const char *program_name;

static void say(const char *text)
{
    ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored;
}

static void say_address(uintptr_t address)
{
    char text[2 + 2 * sizeof address + 1] = "0x";
    for (size_t i = 0; i < 2 * sizeof address; i++)
        text[2 + i] = "0123456789abcdef"[address >> (8 * sizeof address - 4 * (i + 1)) & 15];
    say(text);
}

/* Only what a signal handler may do; backtrace has loaded its library before. */
static void on_crash(int number, siginfo_t *info, void *context)
{
    (void)context;
    void *frames[FRAMES];
    int count = backtrace(frames, FRAMES);
    const char *name = sigabbrev_np(number);
    say(program_name);
    say(": crashed by SIG");
    say(name ? name : "?");
    if (number != SIGABRT) {
        say(" at address ");
        say_address((uintptr_t)info->si_addr);
    }
    say("; the calls, innermost first:\n");
    backtrace_symbols_fd(frames, count, STDERR_FILENO);
    raise(number); /* its action is the default again */
}

void reid_crash_report(const char *program)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    static char stack[STACK_BYTES]; /* the own one may have overflowed */
    void *frame;
    program_name = program;
    backtrace(&frame, 1);
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    struct sigaction action = {.sa_sigaction = on_crash,
                               .sa_flags = SA_SIGINFO | SA_RESETHAND | SA_ONSTACK | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < REID_COUNT_OF(numbers); i++) {
        struct sigaction old;
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
            sigaction(numbers[i], &action, NULL);
    }
}
