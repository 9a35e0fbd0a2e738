"""The book's machinery: what the chapters and their readers use besides the library.

The library proper never imports it, and importing the library never touches it.
"""
