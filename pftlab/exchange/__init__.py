"""The checkpoints of other libraries: Hugging Face PEFT's, both ways, and AdapterHub's, to read.

Method files know nothing of them, and neither does `core`. A method that PEFT has gets a form in
`peft.FORMS`, which says how PEFT writes it down and with which options a file can be read.
"""
