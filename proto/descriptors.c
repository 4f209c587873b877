#include "descriptors.h"

__asm__(".section .rodata\n"
        ".global reid_proto_descriptors\n"
        "reid_proto_descriptors:\n"
        ".incbin \"" REID_DESCRIPTORS "\"\n"
        ".global reid_proto_descriptors_end\n"
        "reid_proto_descriptors_end:\n"
        ".byte 0\n"
        ".previous\n");
