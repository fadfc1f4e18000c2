/* map.c - plain arrays in, plain arrays out: one task for each element. */
#include <ctask.h>
#include <inttypes.h>
#include <stdio.h>

int main(void)
{
    const int64_t n[] = {112272535095293, 1099726899285419, 5489761944588443};
    enum { COUNT = sizeof n / sizeof n[0] };
    bool prime[COUNT];

    if (task_map(60.0, "is_prime", n, prime, COUNT) != CTASK_OK) {
        fprintf(stderr, "%s\n", ctask_error()->text);
        return 1;
    }
    for (int i = 0; i < COUNT; i++)
        printf("%" PRId64 " is %s\n", n[i], prime[i] ? "prime" : "composite");
    return 0;
}
