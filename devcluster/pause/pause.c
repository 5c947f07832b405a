/* Holds a pod's namespaces open: it sleeps, collects orphans as process 1, and ends when told to. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void finish(int number) { _exit(number == SIGTERM || number == SIGINT ? 0 : 1); }
static void collect(int number) { while (waitpid(-1, 0, WNOHANG) > 0 && number) {} }

int main(void) {
    signal(SIGTERM, finish);
    signal(SIGINT, finish);
    signal(SIGCHLD, collect);
    for (;;) pause();
}
