/* How a program finds its memory: bss is zero, brk grows, the stack grows, data is writable, text is not. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
static char zeros[1 << 20];
static char data[8192] = "data";
static const char text[] = "read-only";
static sigjmp_buf back;
static void fault(int number) { siglongjmp(back, number); }
static int grow(int depth) { volatile char page[4096]; page[0] = depth; return depth ? grow(depth - 1) + page[0] : 0; }
extern char end, etext;
int main(void) {
    long sum = 0;
    for (unsigned i = 0; i < sizeof zeros; i++) sum += zeros[i];
    printf("bss %ld data %s %s\n", sum, data, data[8191] ? "dirty" : "clean");
    data[5000] = 1;
    char *start = sbrk(0);
    printf("brk behind bss %d", start >= &end);
    char *got = sbrk(1 << 20);
    memset(got, 7, 1 << 20);
    printf(" grew %d shrank %d\n", got == start, brk(start) == 0 && sbrk(0) == start);
    printf("stack %d\n", grow(1000) != 0);
    signal(SIGSEGV, fault);
    int number = sigsetjmp(back, 1);
    if (!number) { *(volatile char *)text = 1; }
    printf("write to text: signal %d\n", number);
    number = sigsetjmp(back, 1);
    if (!number) { ((void (*)(void))data)(); }
    printf("run data: signal %d\n", number);
    number = sigsetjmp(back, 1);
    if (!number) { *(volatile char *)0 = 1; }
    printf("null: signal %d\n", number);
    void *low = mmap((void *)0x10000000, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    printf("fixed mapping %d\n", low == (void *)0x10000000);
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512]; int heap = 0, stack = 0, self = 0;
    while (fgets(line, sizeof line, f)) {
        heap += strstr(line, "[heap]") != NULL;
        stack += strstr(line, "[stack]") != NULL;
        self += strstr(line, "/programs/layout") != NULL;
    }
    printf("maps: stack %d self %d\n", stack, self > 1);
    return 0;
}
