"""Claim -> settlement, each sale once.

landing.py            the transaction: known event, unusable event, known sale, new sale
"""
