/* Prints the primes up to a number. */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    long limit = argc > 1 ? strtol(argv[1], NULL, 10) : 50;

    for (long n = 2; n <= limit; n++) {
        long d = 2;

        while (d * d <= n && n % d)
            d++;
        if (d * d > n)
            printf("%ld ", n);
    }
    putchar('\n');
    return 0;
}
