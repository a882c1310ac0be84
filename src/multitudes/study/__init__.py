"""Methods × data sets × seeds on equal terms: one file says what is compared, one folder holds the answer."""
