/* The auxiliary vector, as far as it is the same everywhere. */
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>
extern char __ehdr_start;
int main(int argc, char **argv, char **envp) {
    Elf64_Ehdr *header = (Elf64_Ehdr *)&__ehdr_start;
    printf("phdr %d phent %lu phnum %d\n", getauxval(AT_PHDR) == (unsigned long)header + header->e_phoff, getauxval(AT_PHENT),
           getauxval(AT_PHNUM) == header->e_phnum);
    printf("entry %d base %lu pagesz %lu clktck %lu flags %lu\n", getauxval(AT_ENTRY) == header->e_entry, getauxval(AT_BASE),
           getauxval(AT_PAGESZ), getauxval(AT_CLKTCK), getauxval(AT_FLAGS));
    printf("ids %lu %lu %lu %lu secure %lu\n", getauxval(AT_UID), getauxval(AT_EUID), getauxval(AT_GID), getauxval(AT_EGID),
           getauxval(AT_SECURE));
    printf("execfn %s platform %s random %d vdso %d\n", (char *)getauxval(AT_EXECFN), (char *)getauxval(AT_PLATFORM),
           getauxval(AT_RANDOM) != 0, getauxval(AT_SYSINFO_EHDR) != 0);
    printf("argc %d stack aligned %d\n", argc, ((unsigned long)__builtin_frame_address(0) & 15) == 0);
    return 0;
}
