#include <stdio.h>

int main(void) {
    puts("gyrus");
    return 0;
}
