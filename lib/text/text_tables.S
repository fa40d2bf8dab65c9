/* text_tables.S - the two data files of this room; declared in unicode_class.c and gpt2_vocab.c. */
        .section .rodata
        .balign 64
        .globl  lt_unicode_class_table
lt_unicode_class_table:
        .incbin "lib/text/unicode_class.bin"
        .balign 64
        .globl  lt_gpt2_merges
lt_gpt2_merges:
        .incbin "lib/text/gpt2_merges.bin"
        .globl  lt_gpt2_merges_end
lt_gpt2_merges_end:
        .section .note.GNU-stack, "", @progbits
